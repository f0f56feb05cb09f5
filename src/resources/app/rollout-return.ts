// The way back of a rollout that failed. It has ended once no request goes to the candidate any more,
// as the edge shows it: whoever is told that it was taken back can rely on that. Of a rolling one,
// instances of what served have made room batch by batch: they are started again before anything is
// taken from the candidate, so that there is never less to answer with than the policy says. Only a
// candidate that has nobody left to answer is let go at once.

import type { App, AppStatusFields, Rollout } from "./app.ts";
import { type AppObserved, isReady, manifestOf, wantedIn } from "./app-observed.ts";
import { graceMsOf } from "./manifest.ts";
import type { Progress } from "./rollout-progress.ts";
import { candidateOf, servingOf } from "./rollout-stages.ts";
import { OWN_STEP_TIMEOUT_MS } from "./start-report.ts";
import { note } from "./timeline.ts";

type Failed = Extract<Progress, { failure: unknown }>;

/** The rollout on its way back; undefined: it is over as it is. */
export function returning(
  { serving }: AppStatusFields,
  rollout: Rollout,
  { failure, outcome = "failed" }: Failed,
  observed: AppObserved,
): Rollout | undefined {
  const { strategy, phase } = rollout;
  // What served before an app with one writer has ended: it is started as after any failure.
  if (!serving || strategy === "recreate" || phase === "returning") return undefined;
  const left = servingOf(serving, rollout)?.counts ?? {};
  const isReduced =
    strategy === "rolling" &&
    Object.entries(serving.counts).some(([name, count]) => (left[name] ?? 0) < count);
  if (!isReduced && !hasRequests(rollout, observed)) return undefined;
  const { now } = observed;
  const text = `${outcome}: ${failure.reason}; what served is started again first`;
  const back = { phase: "returning", phaseSince: now, returning: { failure, outcome } } as const;
  return isReduced ? { ...note(rollout, now, text), ...back } : { ...withdrawn(rollout), ...back };
}

const withdrawn = (rollout: Rollout): Rollout => ({ ...rollout, perMille: 0 });

// An edge that does not answer gives nobody anything; what it does when it is back is planned anew.
const hasRequests = ({ placement: { slot } }: Rollout, { edge }: AppObserved): boolean =>
  (edge?.traffic?.candidate?.slot === slot && edge.traffic.candidate.perMille > 0) ||
  Object.values(edge?.traffic?.slots ?? {}).includes(slot);

export function judgeReturn(
  app: App,
  { serving }: AppStatusFields,
  rollout: Rollout,
  observed: AppObserved,
): Progress {
  const over = rollout.returning;
  if (!over) return { done: true };
  const old = wantedIn(app, serving, observed);
  const manifest = manifestOf(observed, serving?.set.release ?? 0);
  const graceMs = Math.max(
    0,
    ...old.map(({ component }) => (manifest ? graceMsOf(manifest, component.name) : 0)),
  );
  const lateAfterMs = graceMs + OWN_STEP_TIMEOUT_MS;
  const waitedMs = observed.now - rollout.phaseSince;
  if ((rollout.perMille ?? 0) === 0) {
    const isOver = !hasRequests(rollout, observed) || waitedMs > lateAfterMs + OWN_STEP_TIMEOUT_MS;
    return isOver ? over : { phase: "returning" };
  }
  const own = wantedIn(app, candidateOf(rollout), observed);
  const canServe = own.some((one) => one.component.role === "service" && isReady(one, observed));
  const isBack = old.every((one) => isReady(one, observed));
  const isNext = isBack || !canServe || waitedMs > lateAfterMs;
  return { phase: "returning", ...(isNext && { rollout: withdrawn(rollout) }) };
}
