// What is now known of an app. This is the state machine of a rollout: it moves on only by what was
// seen in the world, so a control plane that was killed at any point comes to the same conclusion
// from the next look.

import { canonicalJson } from "../../kernel/resource.ts";
import {
  type App,
  type AppStatusFields,
  EMPTY_STATUS,
  HISTORY_MAX,
  type InstanceView,
  isSameSet,
  otherSlot,
  type Placement,
  RELEASED_MAX,
  type Rollout,
  type RolloutFailure,
  type RolloutPhase,
  setLabel,
  TIMELINE_MAX,
} from "./app.ts";
import type { Instance, InstanceExit, ProbeResult } from "./app-driver.ts";
import {
  type AppObserved,
  countsFor,
  findInstance,
  findServer,
  isJoined,
  isKept,
  isReady,
  manifestOf,
  releaseTaskName,
  targetSet,
  trafficFor,
  type WantedInstance,
  wantedIn,
} from "./app-observed.ts";
import { isCrashLoop } from "./crash-backoff.ts";
import { reportJobs } from "./job-plan.ts";
import { graceMsOf } from "./manifest.ts";

/** Time the environment's stores have to become ready for a deploy. */
export const STORES_TIMEOUT_MS = 120_000;

/** Time for what is ours alone to do: starting the release command, moving traffic. */
export const OWN_STEP_TIMEOUT_MS = 60_000;

export function reportApp(app: App, observed: AppObserved): AppStatusFields {
  const { pass: _, ...before } = app.status ?? { ...EMPTY_STATUS, pass: undefined };
  let status: AppStatusFields = before;
  // What the last pass could not do says why a phase that is late does not end.
  const failure = app.status?.pass?.verdict === "failed" ? app.status.pass : undefined;
  if (status.rollout) status = advance(app, status, status.rollout, { ...observed, failure });
  if (!status.rollout && !app.deleting) status = begin(app, status, observed);
  status = expireWarm(status, observed);
  return {
    ...status,
    jobs: reportJobs(status, observed),
    retiredSince: reportRetired(app, status, observed),
    instances: observed.instances
      .filter(isShown)
      .map((instance) => viewOf(app, status, instance, observed)),
  };
}

// --- a rollout, from its beginning to its end

function begin(app: App, status: AppStatusFields, observed: AppObserved): AppStatusFields {
  if (app.spec.release === 0 || app.generation <= status.settledGeneration) return status;
  const manifest = manifestOf(observed, app.spec.release);
  if (!manifest) return status;
  const set = targetSet(app);
  const placement: Placement = {
    set,
    slot: slotFor(set, status),
    counts: countsFor(app, manifest),
  };
  const from = status.serving ? `, ${setLabel(status.serving.set)} serves` : "";
  const rollout: Rollout = {
    generation: app.generation,
    reason: app.spec.reason,
    placement,
    phase: "building",
    phaseSince: observed.now,
    startedAt: observed.now,
    timeline: [
      { at: observed.now, text: `${app.spec.reason} of release ${set.release} begins${from}` },
    ],
  };
  return advance(app, { ...status, rollout }, rollout, observed);
}

// The set that serves is scaled where it is; a warm one is taken up where it waits.
function slotFor(set: Placement["set"], { serving, warm }: AppStatusFields): Placement["slot"] {
  if (!serving) return "a";
  if (isSameSet(serving.set, set)) return serving.slot;
  return isSameSet(warm?.set, set) && warm ? warm.slot : otherSlot(serving.slot);
}

type Progress =
  | { readonly phase: RolloutPhase; readonly text?: string; readonly released?: boolean }
  | { readonly failure: RolloutFailure }
  | { readonly done: true };

function advance(
  app: App,
  status: AppStatusFields,
  rollout: Rollout,
  observed: AppObserved,
): AppStatusFields {
  const progress = judge(app, status, rollout, observed);
  if ("failure" in progress) return end(status, rollout, observed, progress.failure);
  if ("done" in progress) return succeed(status, rollout, observed);
  const { phase, text } = progress;
  const released =
    progress.released && !status.released.includes(rollout.placement.set.release)
      ? [...status.released, rollout.placement.set.release].slice(-RELEASED_MAX)
      : status.released;
  if (phase === rollout.phase) return { ...status, released, rollout };
  const moved = { ...note(rollout, observed.now, text ?? phase), phase, phaseSince: observed.now };
  return { ...status, released, rollout: moved };
}

function judge(
  app: App,
  status: AppStatusFields,
  rollout: Rollout,
  observed: AppObserved,
): Progress {
  const { set } = rollout.placement;
  const release = observed.releases.get(set.release);
  if (!release) return fail(`release ${set.release} is not there any more`, "holdfast releases");
  if (release.status?.phase === "failed" && release.status.failure) {
    return { failure: release.status.failure };
  }
  if (release.status?.phase !== "ready") return { phase: "building" };
  const { manifest } = release.spec;
  if (!observed.stores.ready) return judgeStores(rollout, observed);
  const released = status.released.includes(set.release);
  if (manifest.release && !released) {
    const progress = judgeReleaseCommand(app, rollout, manifest.release.timeout, observed);
    if (progress) return progress;
  }
  return judgeInstances(app, rollout, observed);
}

function judgeStores(rollout: Rollout, observed: AppObserved): Progress {
  if (observed.stores.ready) return { phase: "stores" };
  const { reason, hint } = observed.stores;
  const isLate =
    rollout.phase === "stores" && observed.now - rollout.phaseSince > STORES_TIMEOUT_MS;
  return isLate ? fail(reason, hint) : { phase: "stores", text: `waits: ${reason}` };
}

// Undefined: it has run to its end, the rollout goes on.
function judgeReleaseCommand(
  app: App,
  rollout: Rollout,
  timeoutMs: number,
  observed: AppObserved,
): Progress | undefined {
  const task = findInstance(
    observed,
    releaseTaskName(app, rollout.placement.set, rollout.generation),
  );
  const phase = { phase: "release-command", text: "release command runs" } as const;
  if (!task) return late(rollout, "release-command", "could not be started", observed) ?? phase;
  const hint = `holdfast logs ${app.name.split("/")[1]}/release`;
  if (task.state === "running") {
    if (observed.now - task.startedAt <= timeoutMs) return phase;
    return fail(
      `the release command took longer than ${timeoutMs / 1000} s`,
      hint,
      tailOf(task, observed),
    );
  }
  if (task.exit?.code === 0) return undefined;
  const reason = `the release command ended with ${exitText(task.exit)}`;
  return fail(reason, hint, tailOf(task, observed));
}

function judgeInstances(app: App, rollout: Rollout, observed: AppObserved): Progress {
  const wanted = wantedIn(app, rollout.placement, observed);
  const exited = wanted.find(({ name }) => endedBySelf(findInstance(observed, name), rollout));
  if (exited && rollout.phase !== "shifting") return exitedEarly(app, exited, observed);
  const total = wanted.length;
  const notReady = wanted.filter((one) => !isReady(one, observed));
  const there = wanted.filter(
    ({ name }) => findInstance(observed, name)?.state === "running",
  ).length;
  const text =
    there === total
      ? `waits for ${total} instances`
      : `starts ${total - there} of ${total} instances`;
  if (notReady.length > 0) {
    const late = lateInstance(rollout, notReady, observed);
    return late ? notHealthy(app, late, observed) : { phase: "starting", text, released: true };
  }
  if (isInCharge(rollout.placement, observed)) return { done: true };
  const stuck = late(rollout, "shifting", "could not get the traffic", observed);
  if (stuck) return stuck;
  return { phase: "shifting", text: `${total} of ${total} ready, traffic moves`, released: true };
}

// A phase that only takes us a moment.
function late(
  { phase, phaseSince, placement }: Rollout,
  expected: RolloutPhase,
  what: string,
  { now, failure }: AppObserved,
): Progress | undefined {
  if (phase !== expected || now - phaseSince <= OWN_STEP_TIMEOUT_MS) return undefined;
  const who = expected === "shifting" ? `release ${placement.set.release}` : "the release command";
  const why = failure?.reason === undefined ? "" : `: ${failure.reason}`;
  return fail(
    `${who} ${what} within ${OWN_STEP_TIMEOUT_MS / 1000} s${why}`,
    failure?.hint ?? "holdfast doctor",
  );
}

// One that was stopped, or had crashed before this rollout began, says nothing about it.
const endedBySelf = (instance: Instance | undefined, rollout: Rollout): boolean =>
  instance?.state === "exited" &&
  instance.stoppingSince === undefined &&
  instance.startedAt >= rollout.startedAt;

function exitedEarly(app: App, wanted: WantedInstance, observed: AppObserved): Progress {
  const instance = findInstance(observed, wanted.name);
  const { name } = wanted.component;
  const clean = instance?.exit?.code === 0;
  return fail(
    `${name} ended with ${exitText(instance?.exit)} before it was ready` +
      (clean ? "; a service or worker must keep running" : ""),
    clean
      ? `a command that ends by itself belongs under jobs or release in holdfast.yaml`
      : `holdfast logs ${app.name.split("/")[1]}/${name}`,
    instance ? tailOf(instance, observed) : [],
  );
}

function lateInstance(
  rollout: Rollout,
  notReady: readonly WantedInstance[],
  observed: AppObserved,
): WantedInstance | undefined {
  const manifest = manifestOf(observed, rollout.placement.set.release);
  if (rollout.phase !== "starting" || !manifest) return undefined;
  const waitedMs = observed.now - rollout.phaseSince;
  return notReady.find(({ component }) => waitedMs > graceMsOf(manifest, component.name));
}

function notHealthy(app: App, wanted: WantedInstance, observed: AppObserved): Progress {
  const probe = observed.probes.get(wanted.name);
  const instance = findInstance(observed, wanted.name);
  const manifest = manifestOf(observed, wanted.placement.set.release) ?? missing();
  const graceMs = graceMsOf(manifest, wanted.component.name);
  return fail(
    `${wanted.component.name} did not become healthy within ${graceMs / 1000} s` +
      (probe ? `; last probe: ${probe.detail}` : "") +
      (observed.failure?.reason ? `; ${observed.failure.reason}` : ""),
    observed.failure?.hint ?? probeHint(probe, app, wanted),
    instance ? tailOf(instance, observed) : [],
  );
}

function probeHint(probe: ProbeResult | undefined, app: App, wanted: WantedInstance): string {
  const logs = `holdfast logs ${app.name.split("/")[1]}/${wanted.component.name}`;
  if (probe?.detail.includes("→ 3"))
    return "point health.path in holdfast.yaml at a path that answers 200 itself; redirects are not followed";
  if (probe?.detail.includes("refused"))
    return `it must listen on $PORT, or holdfast.yaml must say where it does (services.${wanted.component.name}.port); ${logs}`;
  return logs;
}

const missing = (): never => {
  throw new Error("a placement without its release");
};

/** The edge sends everything there. An app that serves nothing is in charge once it is ready. */
function isInCharge(placement: Placement, observed: AppObserved): boolean {
  const manifest = manifestOf(observed, placement.set.release);
  if (!manifest) return false;
  const wanted = trafficFor(placement, manifest);
  if (Object.keys(wanted.slots).length === 0) return true;
  return canonicalJson(observed.edge?.traffic) === canonicalJson(wanted);
}

function succeed(
  status: AppStatusFields,
  rollout: Rollout,
  observed: AppObserved,
): AppStatusFields {
  const { placement } = rollout;
  const { now } = observed;
  const previous = status.serving;
  const isNewRelease = previous !== undefined && previous.set.release !== placement.set.release;
  const keepWarmMs = manifestOf(observed, previous?.set.release ?? 0)?.keepWarm ?? 0;
  const ended = end(
    status,
    note(rollout, now, `release ${placement.set.release} carries all traffic`),
    observed,
  );
  const { warm: oldWarm, ...rest } = ended;
  const since = isSameSet(previous?.set, placement.set) ? (previous?.since ?? now) : now;
  const next: AppStatusFields = { ...rest, serving: { ...placement, since } };
  if (isNewRelease && previous && keepWarmMs > 0) {
    const { since: _, ...warm } = previous;
    return { ...next, warm: { ...warm, until: now + keepWarmMs } };
  }
  // Scaling what serves leaves the warm set alone; anything else has taken its slot.
  return isSameSet(previous?.set, placement.set) && oldWarm ? { ...next, warm: oldWarm } : next;
}

function end(
  status: AppStatusFields,
  rollout: Rollout,
  observed: AppObserved,
  failure?: RolloutFailure,
): AppStatusFields {
  const { rollout: _, ...rest } = status;
  const noted = failure ? note(rollout, observed.now, `failed: ${failure.reason}`) : rollout;
  const ended: Rollout = {
    ...noted,
    endedAt: observed.now,
    outcome: failure ? "failed" : "succeeded",
    ...(failure && { failure }),
  };
  return {
    ...rest,
    settledGeneration: rollout.generation,
    history: [ended, ...status.history].slice(0, HISTORY_MAX),
  };
}

const note = (rollout: Rollout, at: number, text: string): Rollout => ({
  ...rollout,
  timeline: [...rollout.timeline, { at, text }].slice(-TIMELINE_MAX),
});

const fail = (reason: string, hint: string, log: readonly string[] = []): Progress => ({
  failure: { reason, hint, log },
});

const tailOf = ({ name }: Instance, observed: AppObserved): readonly string[] =>
  observed.tails.get(name) ?? [];

export function exitText(exit: InstanceExit | undefined): string {
  const what =
    exit?.code !== undefined
      ? `exit status ${exit.code}`
      : exit?.signal
        ? `signal ${exit.signal}`
        : "an unknown status";
  return exit?.detail ? `${what} (${exit.detail})` : what;
}

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
  const { serving, rollout, warm } = status;
  const warmServices = wantedIn(app, warm, observed).filter(
    ({ name, component }) =>
      component.role === "service" && findInstance(observed, name)?.state === "running",
  );
  return [
    ...wantedIn(app, serving, observed),
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
  return {
    name: instance.name,
    component,
    role,
    release,
    state,
    restarts: instance.exits.length - (instance.state === "exited" ? 1 : 0),
    startedAt: instance.startedAt,
    ...(detail !== undefined && { detail }),
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
