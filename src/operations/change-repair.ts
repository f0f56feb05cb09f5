// Whether a change repairs what spent an error budget: a fix must not wait for the budget that the
// release it fixes has spent.

import type { AppStatusFields } from "../resources/app/app.ts";
import type { BudgetLeft } from "./change-risk.ts";

/** Of a whole budget: who alone spent so much of it is to blame. */
const BLAMED_FROM = 0.25;

/**
 * A release that spent much of a spent budget, as long as no newer one has succeeded: whatever comes
 * now is the attempt to repair it. Afterwards a spent budget holds risky changes like before.
 */
export function repairedRelease(
  { left, spentBy = [] }: BudgetLeft,
  status: Pick<AppStatusFields, "history"> | undefined,
): number | undefined {
  if (left > 0) return undefined;
  const isOver = (release: number): boolean =>
    status?.history.some(
      ({ outcome, placement }) => outcome === "succeeded" && placement.set.release > release,
    ) === true;
  const spent = 1 - left;
  return spentBy.find(({ release, share }) => share * spent >= BLAMED_FROM && !isOver(release))
    ?.release;
}
