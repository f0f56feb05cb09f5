// Whether a change repairs what spent an error budget: a fix must not wait for the budget that the
// release it fixes has spent.

import type { AppStatusFields } from "../resources/app/app.ts";
import type { BudgetLeft } from "./change-risk.ts";

/** Of the requests that failed, a release that is to blame for a spent budget had at least this share. */
const BLAMED_SHARE = 0.5;

/**
 * The release that spent most of a spent budget, as long as no newer one has succeeded: whatever comes
 * now is the attempt to repair it. Afterwards a spent budget holds risky changes like before.
 */
export function repairedRelease(
  { left, spentBy }: BudgetLeft,
  status: Pick<AppStatusFields, "history"> | undefined,
): number | undefined {
  if (left > 0 || spentBy === undefined || spentBy.share < BLAMED_SHARE) return undefined;
  const isOver = status?.history.some(
    ({ outcome, placement }) => outcome === "succeeded" && placement.set.release > spentBy.release,
  );
  return isOver ? undefined : spentBy.release;
}
