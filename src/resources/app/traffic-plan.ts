// Where requests go now: to what serves, with its share to a candidate, or all to the next one. The
// candidate is only ever named where it has an instance that is ready, so that no request can go
// where nobody answers.

import type { App, AppStatusFields, Placement, Rollout } from "./app.ts";
import { setLabel } from "./app.ts";
import type { CandidateTraffic, EdgeRoute, EdgeTraffic } from "./app-driver.ts";
import {
  type AppObserved,
  findInstance,
  isJoined,
  isServing,
  manifestOf,
  policyOf,
  previewHost,
  trafficFor,
  type WantedInstance,
  wantedIn,
} from "./app-observed.ts";
import type { RolloutPolicy } from "./rollout-policy.ts";
import { candidateOf } from "./rollout-stages.ts";

export interface WantedTraffic {
  readonly traffic: EdgeTraffic;
  readonly why: string;
}

/** Undefined: it stays where it is. */
export function wantedTraffic(
  app: App,
  { rollout, serving }: AppStatusFields,
  observed: AppObserved,
): WantedTraffic | undefined {
  if (rollout?.phase === "shifting" && allJoined(app, rollout.placement, observed)) {
    const manifest = manifestOf(observed, rollout.placement.set.release);
    const why = `release ${rollout.placement.set.release} is ready`;
    return manifest && { traffic: trafficFor(rollout.placement, manifest), why };
  }
  // Everything moves at once, or back because the rollout is on its way back.
  if (!serving || rollout?.phase === "shifting") return undefined;
  const manifest = manifestOf(observed, serving.set.release);
  if (!manifest) return undefined;
  const traffic = trafficFor(serving, manifest);
  const candidate = rollout && candidateTraffic(app, rollout, traffic, observed);
  if (!rollout || !candidate)
    return { traffic, why: `${setLabel(serving.set)} carries all traffic` };
  const share = candidate.perMille / 10;
  return {
    traffic: { ...withOwnServices(traffic, rollout, observed), candidate },
    why: `release ${rollout.placement.set.release} gets ${share} % of requests`,
  };
}

function candidateTraffic(
  app: App,
  rollout: Rollout,
  { slots }: EdgeTraffic,
  observed: AppObserved,
): CandidateTraffic | undefined {
  const { phase, placement, generation, perMille = 0 } = rollout;
  const isReturning = phase === "returning" && perMille > 0;
  const hasShare = phase === "stepping" || phase === "completing" || isReturning;
  const isShown = phase === "smoke" || phase === "preview" || hasShare;
  const placed = candidateOf(rollout);
  if (!isShown || !placed || isShared(placement, observed)) return undefined;
  const ready = wantedIn(app, placed, observed).filter((one) => isInPool(one, observed));
  const services = Object.keys(slots)
    .filter((service) => ready.some(({ component }) => component.name === service))
    .sort();
  if (services.length === 0) return undefined;
  const policy = policyOf(observed, placement.set.release);
  return {
    slot: placement.slot,
    release: placement.set.release,
    services,
    perMille: hasShare ? perMille : 0,
    key: candidateKey(app, rollout, policy),
    rollout: generation,
    isSticky: policy.sticky,
    preview: policy.preview === undefined ? [] : previewRoutes(placement, observed),
  };
}

/** What leads a request to the candidate: the app's own, or one that only this rollout has. */
export const candidateKey = (
  { uid }: Pick<App, "uid">,
  { generation }: Pick<Rollout, "generation">,
  { testers }: RolloutPolicy,
): string => testers.key ?? `${uid}-${generation}`;

function previewRoutes({ set }: Placement, observed: AppObserved): EdgeRoute[] {
  const services = Object.entries(manifestOf(observed, set.release)?.services ?? {});
  return services.flatMap(([service, { routes }]) =>
    routes.flatMap(({ host, path }) => {
      const own = previewHost(host);
      return own === undefined ? [] : [{ host: own, path, service }];
    }),
  );
}

// What is new with the candidate has no other release to go to; users don't reach it yet.
function withOwnServices(
  traffic: EdgeTraffic,
  { placement }: Rollout,
  observed: AppObserved,
): EdgeTraffic {
  const own = Object.keys(manifestOf(observed, placement.set.release)?.services ?? {});
  const fresh = own.filter((service) => traffic.slots[service] === undefined);
  const slots = Object.fromEntries(fresh.map((service) => [service, placement.slot]));
  const releases = Object.fromEntries(fresh.map((service) => [service, placement.set.release]));
  return {
    ...traffic,
    slots: { ...traffic.slots, ...slots },
    releases: { ...traffic.releases, ...releases },
  };
}

const isInPool = (
  { name, component, placement }: WantedInstance,
  observed: AppObserved,
): boolean => {
  const instance = findInstance(observed, name);
  return (
    component.role === "service" &&
    instance !== undefined &&
    isJoined(observed, instance, placement.slot) &&
    isServing(observed, name)
  );
};

// Another release is in that slot, and would get requests too.
function isShared({ set, slot: own }: Placement, observed: AppObserved): boolean {
  return (observed.edge?.servers ?? []).some(
    ({ slot, state, name }) =>
      slot === own && state !== "draining" && name.split(".").at(-2) !== setLabel(set),
  );
}

/** Every service instance is in its pool and well, every worker runs, and nobody else is there. */
export function allJoined(app: App, placement: Placement, observed: AppObserved): boolean {
  if (isShared(placement, observed)) return false;
  return wantedIn(app, placement, observed).every((wanted) =>
    wanted.component.role === "worker"
      ? findInstance(observed, wanted.name)?.state === "running"
      : isInPool(wanted, observed),
  );
}
