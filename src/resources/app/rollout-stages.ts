// A strategy, said as stages: what share of requests the candidate gets in each, for how long, and
// how many instances of both releases there are meanwhile. Pure; computed once when a rollout begins.

import type { Placement, Rollout, Stage } from "./app.ts";
import type { Component } from "./manifest.ts";
import { type RolloutPolicy, stepsOf, WHOLE } from "./rollout-policy.ts";

type Counts = Placement["counts"];

/** Empty where everything changes at once. */
export function stagesOf(
  policy: RolloutPolicy,
  components: readonly Component[],
  candidate: Counts,
  serving: Counts,
): readonly Stage[] {
  if (policy.strategy === "canary") return canaryStages(policy, components, candidate, serving);
  return policy.strategy === "rolling" ? rollingStages(policy, candidate, serving) : [];
}

// Services run in full beside each other: their share is the edge's. Workers share by instances, the
// candidate's rounded up, so that one takes part from the first share on.
function canaryStages(
  policy: RolloutPolicy,
  components: readonly Component[],
  candidate: Counts,
  serving: Counts,
): Stage[] {
  const isWorker = (name: string): boolean =>
    components.some((one) => one.name === name && one.role === "worker");
  return stepsOf(policy).map(({ share, for: forMs }) => ({
    perMille: share,
    forMs,
    candidate: mapCounts(candidate, (name, count) =>
      isWorker(name) ? Math.ceil((count * share) / WHOLE) : count,
    ),
    serving: mapCounts(serving, (name, count) =>
      isWorker(name) ? count - Math.floor((count * share) / WHOLE) : count,
    ),
  }));
}

// Batch by batch: never more than `surge` above the wanted number, never fewer than `minAvailable`
// ready. The last batch is the switch itself.
function rollingStages(policy: RolloutPolicy, candidate: Counts, serving: Counts): Stage[] {
  const { batch, surge, minAvailable } = policy;
  const wanted = Math.max(0, ...Object.values(candidate));
  const stages: Stage[] = [];
  const sizeOf = (present: number): number =>
    Math.max(1, Math.min(batch, surge + present - Math.min(minAvailable ?? present, present)));
  const size = Math.min(...Object.values(serving).filter(Boolean).map(sizeOf), batch);
  for (let fresh = size; fresh < wanted; fresh += size) {
    // All components move at one pace, and both releases keep one of each to the end: a request that
    // began with one of them goes on with it.
    const own = mapCounts(candidate, (_, count) =>
      count === 0 ? 0 : Math.max(1, Math.floor((count * fresh) / wanted)),
    );
    const old = mapCounts(serving, (name, count) =>
      count === 0 ? 0 : Math.max(1, Math.min(count, count + surge - (own[name] ?? 0))),
    );
    stages.push({ perMille: shareOf(own, old), forMs: 0, candidate: own, serving: old });
  }
  return stages;
}

// Requests follow instances: of the component that is furthest behind.
function shareOf(own: Counts, old: Counts): number {
  const shares = Object.entries(own)
    .filter(([name, count]) => count + (old[name] ?? 0) > 0)
    .map(([name, count]) => count / (count + (old[name] ?? 0)));
  return Math.round(WHOLE * Math.min(1, ...shares));
}

const mapCounts = (counts: Counts, map: (name: string, count: number) => number): Counts =>
  Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, map(name, count)]));

const NONE: Counts = {};

/** What of the candidate is to run now; undefined before its time. */
export function candidateOf(rollout: Rollout | undefined): Placement | undefined {
  if (!rollout) return undefined;
  const { phase, placement, stages, stage = 0 } = rollout;
  switch (phase) {
    case "starting":
    case "smoke":
    case "preview":
    case "stepping":
    case "returning":
      return { ...placement, counts: stages[stage]?.candidate ?? placement.counts };
    case "completing":
    case "shifting":
      return placement;
    default:
      return undefined;
  }
}

/** What of the release that serves is to run now. */
export function servingOf(
  serving: Placement | undefined,
  rollout: Rollout | undefined,
): Placement | undefined {
  if (!serving || !rollout) return serving;
  const { phase, strategy, stages, stage = 0 } = rollout;
  const isBegun = phase === "starting" || phase === "smoke" || phase === "preview";
  if (strategy === "recreate" && (phase === "stopping" || isBegun || phase === "shifting"))
    return { ...serving, counts: NONE };
  const at = stages[stage];
  const isReduced =
    phase === "stepping" ||
    phase === "completing" ||
    phase === "shifting" ||
    (isBegun && strategy === "rolling");
  return at && isReduced ? { ...serving, counts: at.serving } : serving;
}
