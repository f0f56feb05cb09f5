// Every decision in an app's life, pure. Three parts in one pass: keep what serves alive, take the
// rollout one step further, retire what nobody wants. The order that users feel is here: nothing
// joins a pool before it is ready, traffic moves only when all of the new set has joined, and
// nothing gets SIGTERM while it is in a pool or has requests under way.

import { blocked, changeOr, converged, type Plan, wait } from "../../kernel/plan.ts";
import { canonicalJson } from "../../kernel/resource.ts";
import type { App, AppStatusFields, Placement, Rollout } from "./app.ts";
import { EMPTY_STATUS, isSameSet } from "./app.ts";
import type { EdgeServer, EdgeTraffic, Instance } from "./app-driver.ts";
import {
  type AppObserved,
  declarationFor,
  findInstance,
  findServer,
  isJoined,
  isKept,
  isReady,
  manifestOf,
  policyOf,
  REHEARSAL_TASK,
  RELEASE_TASK,
  rehearsalTaskName,
  releaseTaskName,
  type WantedInstance,
  wantedIn,
} from "./app-observed.ts";
import { keptInstances, keptPlacements } from "./app-report.ts";
import type { AppStep } from "./app-step.ts";
import { restartInMs } from "./crash-backoff.ts";
import { exitText } from "./instance-exit.ts";
import { dueJobs, overdueJobRuns } from "./job-plan.ts";
import { componentsOf } from "./manifest.ts";
import { planRehearsal } from "./rehearsal.ts";
import { candidateOf, servingOf } from "./rollout-stages.ts";
import { SMOKE_TASK, smokeTaskName } from "./smoke-report.ts";
import { wantedTraffic } from "./traffic-plan.ts";

const CERTIFICATE_HINT =
  "it must hold the certificate, its chain and its key, all in PEM; until then the local CA's serves";
const FAST_RECHECK_MS = 50;
const BUILDING_RECHECK_MS = 1_000;
const RETIRING_RECHECK_MS = 100;
const UNHEALTHY_RECHECK_MS = 500;
const JUDGED_RECHECK_MS = 1_000;
const SHOWN_RECHECK_MS = 250;
const WATCH_RECHECK_MS = 2_000;
const AT_REST_MS = 10_000;
const EDGE_DOWN_RECHECK_MS = 500;
const MIN_RECHECK_MS = 20;
/** A task that has ended is remembered so long: longer than any request for it can be under way. */
const TASK_KEPT_MS = 5 * 60_000;
/** For an instance whose release nobody knows any more; the defaults of holdfast.yaml. */
const DRAIN_MS = 30_000;
/** An edge that did not answer in time may still do what it was asked. */
const JOIN_LATE_MS = 1_000;
const KILL_AFTER_GRACE_MS = 10_000;

export function planApp(app: App, observed: AppObserved): Plan<AppStep> {
  const status = app.status ?? EMPTY_STATUS;
  if (app.deleting) return planDelete(app, status, observed);
  const steps = [
    ...planDeclaration(status, observed),
    ...planRehearsal(app, status, observed),
    ...planRelease(app, status, observed),
    ...planKeep(app, status, observed),
    ...planSmoke(app, status, observed),
    ...planTraffic(app, status, observed),
    ...planRetire(app, status, observed),
    ...planTasks(app, status, observed),
  ];
  const recheckAfterMs = nextLook(app, status, observed);
  if (steps.length > 0) {
    const plan = changeOr<AppStep>(steps, converged(recheckAfterMs));
    return plan.verdict === "change" ? { ...plan, recheckAfterMs: MIN_RECHECK_MS } : plan;
  }
  return verdictAtRest(app, status, observed, recheckAfterMs);
}

function verdictAtRest(
  app: App,
  status: AppStatusFields,
  observed: AppObserved,
  recheckAfterMs: number,
): Plan<AppStep> {
  const [last] = status.history;
  const name = app.name.split("/")[1];
  if (!observed.edge) return wait("the edge does not run", EDGE_DOWN_RECHECK_MS);
  if (status.rollout)
    return wait(`${status.rollout.reason}: ${status.rollout.phase}`, recheckAfterMs);
  const looping = status.instances.filter(({ state }) => state === "crash-loop");
  if (looping[0]) {
    const { component, detail } = looping[0];
    const reason = `${component} ends again and again${detail ? ` (${detail})` : ""}`;
    return blocked(
      reason,
      `holdfast logs ${name}/${component} or holdfast rollback ${name}`,
      recheckAfterMs,
    );
  }
  const unwell = status.instances.filter(({ state }) => state === "unhealthy");
  if (unwell[0]) {
    const { component, detail } = unwell[0];
    return blocked(
      `${unwell.length} of ${component} ${unwell.length === 1 ? "runs, but fails" : "run, but fail"} the health check${detail ? ` (${detail})` : ""}`,
      `holdfast logs ${name}/${component} or holdfast restart ${name}`,
      UNHEALTHY_RECHECK_MS,
    );
  }
  if (observed.edge.problem !== undefined)
    return blocked(observed.edge.problem, CERTIFICATE_HINT, recheckAfterMs);
  if (last?.automatic !== undefined && last.generation === status.settledGeneration) {
    const bad = status.history[1]?.placement.set.release;
    const reason = `release ${bad} was rolled back: ${last.automatic}; release ${status.serving?.set.release} serves`;
    return blocked(reason, `holdfast rollout ${name} --release ${bad}`, recheckAfterMs);
  }
  if (last?.outcome === "failed" && last.generation === status.settledGeneration && last.failure) {
    const kept = status.serving ? `; release ${status.serving.set.release} serves on` : "";
    const reason = `${last.reason} of release ${last.placement.set.release} failed: ${last.failure.reason}${kept}`;
    return blocked(reason, last.failure.hint, recheckAfterMs);
  }
  return converged(recheckAfterMs);
}

// --- the edge must know of a service before anything can join it

function planDeclaration(status: AppStatusFields, observed: AppObserved): AppStep[] {
  const known = keptPlacements(status).filter(({ set }) => isBuilt(set.release, observed));
  if (!observed.edge || known.length === 0) return [];
  // The rollout's policy wins over that of a warm set in the same slot.
  const declaration = declarationFor([...known].reverse(), observed);
  const isKnown = canonicalJson(observed.edge.declaration) === canonicalJson(declaration);
  if (isKnown && observed.edge.isLoaded) return [];
  return [
    { do: "declare-edge", declaration, why: "the edge must know these services, hosts and limits" },
  ];
}

const isBuilt = (release: number, observed: AppObserved): boolean =>
  observed.releases.get(release)?.status?.phase === "ready";

// --- the release command: once, before anything of the release starts

function planRelease(app: App, { rollout }: AppStatusFields, observed: AppObserved): AppStep[] {
  if (rollout?.phase !== "release-command") return [];
  const { placement, generation } = rollout;
  const name = releaseTaskName(app, placement.set, generation);
  const command = manifestOf(observed, placement.set.release)?.release?.command;
  if (command === undefined || findInstance(observed, name)) return [];
  const order = { name, component: RELEASE_TASK, role: "task", placement, command } as const;
  return [
    {
      do: "start-instance",
      instance: { ...order, index: `g${generation}` },
      why: `the release command runs once before release ${placement.set.release} starts`,
    },
  ];
}

// --- what is wanted runs, and is in its pool once it is ready

function planKeep(app: App, status: AppStatusFields, observed: AppObserved): AppStep[] {
  const { rollout, serving } = status;
  const wanted = [
    ...wantedIn(app, servingOf(serving, rollout), observed),
    ...wantedIn(app, candidateOf(rollout), observed),
  ];
  const unique = [...new Map(wanted.map((one) => [one.name, one])).values()];
  // Workers have to stay up for a time that services spend on becoming healthy: they go first.
  const order = unique.toSorted((one, other) => Number(isService(one)) - Number(isService(other)));
  return order.flatMap((one) => [...planStart(one, observed), ...planJoin(one, observed)]);
}

const isService = ({ component }: WantedInstance): boolean => component.role === "service";

function planStart(wanted: WantedInstance, observed: AppObserved): AppStep[] {
  const { name, component, placement, index } = wanted;
  const instance = findInstance(observed, name);
  // One that was told to end, and is wanted again by now, ends first: by force where it does not hear.
  if (instance?.state === "running" && instance.stoppingSince !== undefined)
    return planEnd(instance, observed);
  if (instance?.state === "running") return [];
  if (instance && instance.stoppingSince === undefined && restartInMs(instance, observed.now) > 0) {
    return [];
  }
  const why =
    instance && instance.stoppingSince === undefined
      ? `it ended with ${exitText(instance.exit)} and is wanted`
      : `release ${placement.set.release} wants ${placement.counts[component.name]} of ${component.name}`;
  const { role, command } = component;
  const order = { name, component: component.name, role, placement, command, index: String(index) };
  return [{ do: "start-instance", instance: order, why }];
}

function planJoin(wanted: WantedInstance, observed: AppObserved): AppStep[] {
  const { name, component, placement } = wanted;
  const instance = findInstance(observed, name);
  if (!observed.edge || component.role !== "service" || !instance?.address) return [];
  if (!hasPool(observed, component.name)) return [];
  if (isJoined(observed, instance, placement.slot)) return [];
  const stale = findServer(observed, name);
  if (stale && !isSameServer(stale, instance, placement)) {
    return [{ do: "leave-pool", server: stale, why: `${name} listens elsewhere now` }];
  }
  if (!isReady(wanted, observed)) return [];
  const { address } = instance;
  const server = { service: component.name, slot: placement.slot, name, address };
  return [{ do: "join-pool", server, why: `${name} is ready` }];
}

const isSameServer = (server: EdgeServer, { address }: Instance, { slot }: Placement): boolean =>
  server.slot === slot &&
  server.address.host === address?.host &&
  server.address.port === address.port;

// The declaration of this very pass comes first; without one the pool is not there yet.
const hasPool = (observed: AppObserved, service: string): boolean =>
  observed.edge?.declaration?.services[service] !== undefined;

// --- traffic goes to the rollout when all of it has joined, otherwise it stays where it was

function planTraffic(app: App, status: AppStatusFields, observed: AppObserved): AppStep[] {
  if (!observed.edge) return [];
  const wanted = wantedTraffic(app, status, observed);
  if (!wanted) return [];
  const { traffic, why } = wanted;
  const now = observed.edge.traffic;
  if (Object.keys(traffic.slots).some((service) => !hasPool(observed, service))) return [];
  if (canonicalJson(now ?? null) === canonicalJson(traffic)) return [];
  if (Object.keys(traffic.slots).length === 0 && !now) return [];
  return [{ do: "shift-traffic", traffic, why }];
}

// --- smoke checks that are commands

function planSmoke(app: App, { rollout }: AppStatusFields, observed: AppObserved): AppStep[] {
  if (rollout?.phase !== "smoke") return [];
  const { placement, generation } = rollout;
  return policyOf(observed, placement.set.release).smoke.flatMap(({ command }, at): AppStep[] => {
    const name = smokeTaskName(app, rollout, at);
    if (command === undefined || findInstance(observed, name)) return [];
    const index = `g${generation}-${at}`;
    const instance = {
      name,
      component: SMOKE_TASK,
      role: "task",
      placement,
      command,
      index,
    } as const;
    return [{ do: "start-instance", instance, why: `a check of release ${placement.set.release}` }];
  });
}

// --- what nobody wants leaves: out of the pool, its requests done, SIGTERM, SIGKILL, forgotten

function planRetire(app: App, status: AppStatusFields, observed: AppObserved): AppStep[] {
  const kept = keptInstances(app, status, observed);
  const retired = observed.instances.filter(
    (instance) => instance.labels.role !== "task" && !isKept(instance, kept),
  );
  const orphans = (observed.edge?.servers ?? []).filter(
    ({ name }) => !findInstance(observed, name) && !kept.some((one) => one.name === name),
  );
  return [
    ...orphans.map(
      (server): AppStep => ({ do: "leave-pool", server, why: `${server.name} is gone` }),
    ),
    ...retired.flatMap((instance) => planRetireOne(status, instance, observed)),
  ];
}

function planRetireOne(
  status: AppStatusFields,
  instance: Instance,
  observed: AppObserved,
): AppStep[] {
  const { name } = instance;
  const server = findServer(observed, name);
  // Without a look at the edge nobody knows what an instance carries.
  if (!observed.edge && instance.labels.role === "service" && instance.state === "running")
    return [];
  if (server) return planLeave(status, instance, server, observed);
  // It may have been joining when it was given up: what the edge was told is in force by then.
  const retiredMs = observed.now - (status.retiredSince[instance.name] ?? observed.now);
  const mayJoin = instance.labels.role === "service" && instance.state === "running";
  if (mayJoin && retiredMs < JOIN_LATE_MS) return [];
  return planEnd(instance, observed);
}

function planLeave(
  status: AppStatusFields,
  instance: Instance,
  server: EdgeServer,
  observed: AppObserved,
): AppStep[] {
  if (instance.state === "exited") {
    return [{ do: "leave-pool", server, why: `${server.name} has ended` }];
  }
  // Draining first, also in a slot without traffic: the next release may take that slot.
  if (server.state !== "draining") {
    return [{ do: "drain-server", server, why: `${server.name} is no longer wanted` }];
  }
  const retiredMs = observed.now - (status.retiredSince[server.name] ?? observed.now);
  const component = componentOf(instance, observed);
  const drainMs = component?.drainMs ?? DRAIN_MS;
  if (server.requests > 0 && retiredMs < drainMs) return [];
  const why =
    server.requests > 0
      ? `${server.requests} requests did not end within ${drainMs / 1000} s`
      : `${server.name} carries no request`;
  return [{ do: "leave-pool", server, why }];
}

function planEnd(instance: Instance, observed: AppObserved): AppStep[] {
  const { name } = instance;
  if (instance.state === "exited") {
    return [{ do: "remove-instance", name, why: `${name} has ended and is not wanted` }];
  }
  if (instance.stoppingSince === undefined) {
    return [
      { do: "terminate-instance", name, why: `${name} carries no traffic and is not wanted` },
    ];
  }
  const graceMs = componentOf(instance, observed)?.stopGraceMs ?? KILL_AFTER_GRACE_MS;
  if (observed.now - instance.stoppingSince < graceMs) return [];
  return [
    { do: "kill-instance", name, why: `it did not end within ${graceMs / 1000} s of SIGTERM` },
  ];
}

function componentOf(instance: Instance, observed: AppObserved) {
  const manifest = manifestOf(observed, instance.labels.release);
  return manifest && componentsOf(manifest).find(({ name }) => name === instance.labels.component);
}

// --- tasks: the release command and runs of jobs

function planTasks(app: App, status: AppStatusFields, observed: AppObserved): AppStep[] {
  const starts = dueJobs(app, status, observed).map(
    ({ job, placement, instance, dueAt }): AppStep => {
      const command = manifestOf(observed, placement.set.release)?.jobs[job]?.command ?? "";
      const index = String(Math.floor(dueAt / 1000));
      const order = {
        name: instance,
        component: job,
        role: "task",
        placement,
        command,
        index,
      } as const;
      return { do: "start-instance", instance: order, why: `job ${job} is due` };
    },
  );
  const kills = [
    ...overdueJobRuns(status, observed),
    ...observed.instances.filter(
      (task) =>
        task.state === "running" &&
        (isStaleReleaseTask(app, status, task) || isStaleSmokeTask(status, task)),
    ),
  ].map(({ name }): AppStep => ({ do: "kill-instance", name, why: "its time is over" }));
  const removals = observed.instances
    .filter((task) => task.labels.role === "task" && task.state === "exited")
    .filter((task) => (task.exit?.at ?? 0) < observed.now - TASK_KEPT_MS)
    .filter((task) => !isOnce(task) || isStaleReleaseTask(app, status, task))
    .map(
      ({ name }): AppStep => ({
        do: "remove-instance",
        name,
        why: "it has ended and was recorded",
      }),
    );
  return [...starts, ...kills, ...removals];
}

const isStaleSmokeTask = ({ rollout }: AppStatusFields, { labels }: Instance): boolean =>
  labels.component === SMOKE_TASK &&
  (rollout?.phase !== "smoke" || !isSameSet(rollout.placement.set, labels));

const isOnce = ({ labels }: Instance): boolean =>
  labels.component === RELEASE_TASK || labels.component === REHEARSAL_TASK;

function isStaleReleaseTask(app: App, { rollout }: AppStatusFields, task: Instance): boolean {
  if (!isOnce(task)) return false;
  if (!rollout || !isSameSet(rollout.placement.set, task.labels)) return true;
  const { set } = rollout.placement;
  if (task.labels.component === RELEASE_TASK)
    return task.name !== releaseTaskName(app, set, rollout.generation);
  const isOver = rollout.phase !== "rehearsal";
  return isOver || task.name !== rehearsalTaskName(app, set, rollout.generation);
}

// --- deletion: no new requests, drain, end everything, then the edge forgets the app

function planDelete(app: App, status: AppStatusFields, observed: AppObserved): Plan<AppStep> {
  if (!observed.edge) return wait("the edge does not run", EDGE_DOWN_RECHECK_MS);
  const unrouted: EdgeTraffic = { slots: {}, releases: {}, routes: [] };
  const { traffic, declaration } = observed.edge;
  const why = `${app.name} is being destroyed`;
  const hasTraffic = traffic !== undefined && canonicalJson(traffic) !== canonicalJson(unrouted);
  const tasks = observed.instances.filter(({ labels }) => labels.role === "task");
  const steps: AppStep[] = [
    ...(hasTraffic ? [{ do: "shift-traffic", traffic: unrouted, why } as const] : []),
    ...planRetire(app, status, observed),
    ...tasks.flatMap((task) => planEnd(task, observed)),
    ...planRehearsal(app, { ...status, rollout: undefined }, observed),
  ];
  const isEmpty = observed.instances.length === 0 && observed.edge.servers.length === 0;
  if (isEmpty && declaration) steps.push({ do: "withdraw-edge", why });
  if (isEmpty && observed.hasData) {
    steps.push({ do: "drop-data", why: "its data was asked to be deleted, by name" });
  }
  const plan = changeOr<AppStep>(steps, wait("instances drain", RETIRING_RECHECK_MS));
  return plan.verdict === "change" ? { ...plan, recheckAfterMs: MIN_RECHECK_MS } : plan;
}

// --- when to look again

function nextLook(app: App, status: AppStatusFields, observed: AppObserved): number {
  const { rollout, warm, watch } = status;
  const { now } = observed;
  if (rollout) return nextLookAtRollout(rollout);
  if (Object.keys(status.retiredSince).length > 0) return RETIRING_RECHECK_MS;
  const unready = wantedIn(app, status.serving, observed).some((one) => !isReady(one, observed));
  if (unready) return RETIRING_RECHECK_MS;
  if (status.instances.some(({ state }) => state === "unhealthy")) return UNHEALTHY_RECHECK_MS;
  const times = [
    now + (watch ? WATCH_RECHECK_MS : AT_REST_MS),
    watch?.until ?? Infinity,
    warm?.until ?? Infinity,
    ...[...observed.schedule.values()].map(({ nextDueAt }) => nextDueAt),
    ...observed.instances
      .filter(({ state, labels }) => state === "exited" && labels.role !== "task")
      .filter(({ stoppingSince }) => stoppingSince === undefined)
      .map((instance) => now + restartInMs(instance, now)),
  ];
  return Math.max(MIN_RECHECK_MS, Math.min(...times) - now);
}

function nextLookAtRollout({ phase, stageSince }: Rollout): number {
  if (phase === "building") return BUILDING_RECHECK_MS;
  if (phase === "smoke" || phase === "preview") return SHOWN_RECHECK_MS;
  return phase === "stepping" && stageSince !== undefined ? JUDGED_RECHECK_MS : FAST_RECHECK_MS;
}
