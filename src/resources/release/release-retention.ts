// Which releases are kept: those that run or are about to, and the newest; the others are forgotten,
// and with them what only they needed.

import type { App } from "../app/app.ts";
import type { Release } from "./release.ts";

/** How far back a rollback can reach. */
export const RELEASES_KEPT = 20;

export function releasesToForget(app: App, releases: readonly Release[]): readonly Release[] {
  const { serving, warm, rollout } = app.status ?? {};
  const inUse = new Set([
    app.spec.release,
    serving?.set.release,
    warm?.set.release,
    rollout?.placement.set.release,
    ...(app.status?.instances ?? []).map(({ release }) => release),
  ]);
  const newestFirst = releases.toSorted((a, b) => b.spec.number - a.spec.number);
  return newestFirst.slice(RELEASES_KEPT).filter(({ spec }) => !inUse.has(spec.number));
}
