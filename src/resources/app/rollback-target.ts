// Where a rollback without a number goes.

import type { App, InstanceView } from "./app.ts";

const UNWELL: ReadonlySet<InstanceView["state"]> = new Set(["crashed", "crash-loop", "unhealthy"]);

/**
 * After a failed deploy: what still serves, if it serves well. Otherwise the newest release that
 * served before it. Undefined where there is none.
 */
export function rollbackTarget({ spec, status }: App): number | undefined {
  const serving = status?.serving?.set.release;
  const isWell = status?.instances.every(
    ({ release, state }) => release !== serving || !UNWELL.has(state),
  );
  if (serving !== undefined && serving !== spec.release && isWell) return serving;
  const earlier = (status?.history ?? [])
    .filter(({ outcome }) => outcome === "succeeded")
    .map(({ placement }) => placement.set.release)
    .filter((release) => release < (serving ?? Number.POSITIVE_INFINITY));
  return earlier.length > 0 ? Math.max(...earlier) : undefined;
}
