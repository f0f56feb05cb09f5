// The way back of a rolling release. Batch by batch instances of what served have made room for it:
// they are started again before anything is taken from the candidate, so that there is never less to
// answer with than the policy says. Only a candidate that has nobody left to answer is let go at once.

import type { App, AppStatusFields, Rollout } from "./app.ts";
import { type AppObserved, isReady, manifestOf, wantedIn } from "./app-observed.ts";
import { graceMsOf } from "./manifest.ts";
import type { Progress } from "./rollout-report.ts";
import { candidateOf, servingOf } from "./rollout-stages.ts";
import { OWN_STEP_TIMEOUT_MS } from "./start-report.ts";
import { note } from "./timeline.ts";

type Failed = Extract<Progress, { failure: unknown }>;

/** The rollout on its way back; undefined: it is over as it is. */
export function returning(
  { serving }: AppStatusFields,
  rollout: Rollout,
  { failure, outcome = "failed" }: Failed,
  { now }: AppObserved,
): Rollout | undefined {
  if (rollout.strategy !== "rolling" || !serving || rollout.phase === "returning") return undefined;
  const left = servingOf(serving, rollout)?.counts ?? {};
  const isReduced = Object.entries(serving.counts).some(
    ([name, count]) => (left[name] ?? 0) < count,
  );
  if (!isReduced) return undefined;
  const text = `${outcome}: ${failure.reason}; what served is started again first`;
  return {
    ...note(rollout, now, text),
    phase: "returning",
    phaseSince: now,
    returning: { failure, outcome },
  };
}

export function judgeReturn(
  app: App,
  { serving }: AppStatusFields,
  rollout: Rollout,
  observed: AppObserved,
): Progress {
  const over = rollout.returning;
  if (!over) return { done: true };
  const old = wantedIn(app, serving, observed);
  const own = wantedIn(app, candidateOf(rollout), observed);
  const canServe = own.some((one) => one.component.role === "service" && isReady(one, observed));
  const manifest = manifestOf(observed, serving?.set.release ?? 0);
  const graceMs = Math.max(
    0,
    ...old.map(({ component }) => (manifest ? graceMsOf(manifest, component.name) : 0)),
  );
  const isLate = observed.now - rollout.phaseSince > graceMs + OWN_STEP_TIMEOUT_MS;
  const isBack = old.every((one) => isReady(one, observed));
  return isBack || !canServe || isLate ? over : { phase: "returning" };
}
