// What is now known of an app: how its rollout goes, what is kept and retired, and what a person sees
// of each instance. It moves on only by what was seen in the world, so a control plane that was
// killed at any point comes to the same conclusion from the next look.

import {
  type App,
  type AppStatusFields,
  EMPTY_STATUS,
  type InstanceView,
  isSameSet,
  type Placement,
} from "./app.ts";
import type { Instance } from "./app-driver.ts";
import {
  type AppObserved,
  findInstance,
  findServer,
  isJoined,
  isKept,
  isReady,
  type WantedInstance,
  wantedIn,
} from "./app-observed.ts";
import { isCrashLoop } from "./crash-backoff.ts";
import { exitText, wasMemoryKill } from "./instance-exit.ts";
import { reportJobs } from "./job-plan.ts";
import { withCopy } from "./rehearsal.ts";
import { advance, begin, rollBack } from "./rollout-report.ts";
import { servingOf } from "./rollout-stages.ts";
import { reportWatch, watchInTime } from "./watch-report.ts";

export function reportApp(app: App, observed: AppObserved): AppStatusFields {
  const { pass: _, ...before } = app.status ?? { ...EMPTY_STATUS, pass: undefined };
  let status: AppStatusFields = before.rollout
    ? { ...before, rollout: { ...OF_AN_EARLIER_BUILD, ...before.rollout } }
    : before;
  // What the last pass could not do says why a phase that is late does not end.
  const failure = app.status?.pass?.verdict === "failed" ? app.status.pass : undefined;
  if (status.rollout) status = advance(app, status, status.rollout, { ...observed, failure });
  if (!status.rollout && !app.deleting) status = begin(app, status, observed);
  if (status.watch) status = { ...status, watch: watchInTime(status.watch, observed.now) };
  if (!status.rollout && !app.deleting && status.watch) {
    const { watch, trouble } = reportWatch(app, status, status.watch, observed);
    const { watch: __, ...unwatched } = status;
    status = watch ? { ...unwatched, watch } : unwatched;
    if (trouble) status = rollBack(app, status, trouble, observed);
  }
  status = withCopy(expireWarm(status, observed), observed);
  return {
    ...status,
    jobs: reportJobs(status, observed),
    retiredSince: reportRetired(app, status, observed),
    instances: observed.instances
      .filter(isShown)
      .map((instance) => viewOf(app, status, instance, observed)),
  };
}

/** What a rollout that an earlier build began does not say. */
const OF_AN_EARLIER_BUILD = { strategy: "blue-green", stages: [], results: [] } as const;

// --- what is kept, retired and shown

function expireWarm(status: AppStatusFields, observed: AppObserved): AppStatusFields {
  const { warm, rollout, ...rest } = status;
  if (!warm) return status;
  const slotIsNeeded =
    rollout !== undefined &&
    rollout.placement.slot === warm.slot &&
    !isSameSet(rollout.placement.set, warm.set);
  const back = rollout ? { ...rest, rollout } : rest;
  return observed.now >= warm.until || slotIsNeeded ? back : status;
}

/** Placements whose instances stay, first those that matter most. */
export function keptPlacements({ serving, rollout, warm }: AppStatusFields): readonly Placement[] {
  return [serving, rollout?.placement, warm].filter((one) => one !== undefined);
}

/** Those that stay. Of a warm set only services do: two releases of a worker would do work twice. */
export function keptInstances(
  app: App,
  status: AppStatusFields,
  observed: AppObserved,
): readonly WantedInstance[] {
  if (app.deleting) return [];
  const { rollout, warm } = status;
  const warmServices = wantedIn(app, warm, observed).filter(
    ({ name, component }) =>
      component.role === "service" && findInstance(observed, name)?.state === "running",
  );
  return [
    ...wantedIn(app, servingOf(status.serving, rollout), observed),
    ...wantedIn(app, rollout?.placement, observed),
    ...warmServices,
  ];
}

function reportRetired(
  app: App,
  status: AppStatusFields,
  observed: AppObserved,
): Record<string, number> {
  const kept = keptInstances(app, status, observed);
  const retired = observed.instances.filter(
    (instance) => instance.labels.role !== "task" && !isKept(instance, kept),
  );
  return Object.fromEntries(
    retired.map(({ name }) => [name, status.retiredSince[name] ?? observed.now]),
  );
}

// How tasks ended is told by the rollout and by the job; their remains are nobody's business.
const isShown = ({ labels, state }: Instance): boolean =>
  labels.role !== "task" || state === "running";

function viewOf(
  app: App,
  status: AppStatusFields,
  instance: Instance,
  observed: AppObserved,
): InstanceView {
  const { component, role, release } = instance.labels;
  const probe = observed.probes.get(instance.name);
  const state = stateOf(app, status, instance, observed);
  const detail =
    instance.state === "exited"
      ? exitText(instance.exit)
      : state === "unhealthy" || state === "starting"
        ? probe?.detail
        : undefined;
  const kill = instance.exits.findLast(wasMemoryKill);
  return {
    name: instance.name,
    component,
    role,
    release,
    state,
    restarts: instance.exits.length - (instance.state === "exited" ? 1 : 0),
    startedAt: instance.startedAt,
    ...(detail !== undefined && { detail }),
    ...(kill?.detail !== undefined && { memoryKill: { at: kill.at, detail: kill.detail } }),
  };
}

function stateOf(
  app: App,
  status: AppStatusFields,
  instance: Instance,
  observed: AppObserved,
): InstanceView["state"] {
  const { now } = observed;
  if (instance.state === "exited") {
    if (instance.labels.role === "task" || instance.stoppingSince) return "finished";
    return isCrashLoop(instance, now) ? "crash-loop" : "crashed";
  }
  if (instance.stoppingSince !== undefined) return "stopping";
  if (instance.labels.role === "task") return "ready";
  if (isSameSet(status.warm?.set, instance.labels)) return "warm";
  const wanted = keptInstances(app, status, observed).find(({ name }) => name === instance.name);
  if (!wanted) return "draining";
  if (isCrashLoop(instance, now)) return "crash-loop";
  const server = findServer(observed, instance.name);
  if (server && isJoined(observed, instance, wanted.placement.slot)) {
    return server.state === "up" ? "ready" : "unhealthy";
  }
  return isReady(wanted, observed) ? "ready" : "starting";
}
