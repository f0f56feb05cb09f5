// What the next change is a change of.

import type { App } from "./app.ts";

/**
 * The release that serves, where what was asked for last is settled; before that, what was asked for.
 * With `isForCode`, a release that failed before any user got it counts too: settings that it lacked
 * may be what it failed on.
 */
export function releaseInForce({ spec, status, generation }: App, isForCode = false): number {
  const serving = status?.serving?.set.release;
  // What is being taken back by itself is not what anybody builds on.
  const { rollout } = status ?? {};
  if (rollout?.automatic !== undefined) return rollout.placement.set.release;
  if (!status || serving === undefined || status.rollout || status.settledGeneration < generation)
    return spec.release;
  const last = status.history.find(({ placement }) => placement.set.release === spec.release);
  const neverServed = last?.outcome === "failed" && last.exposedAt === undefined;
  return isForCode && neverServed ? spec.release : serving;
}
