// The wiring of the app kind: what to look at, and which driver carries out which step.

import { Cron } from "croner";
import { messageOf, stuck } from "../../kernel/error.ts";
import { takeLease } from "../../kernel/lease.ts";
import type { Reconciler } from "../../kernel/reconciler.ts";
import type { ResourceStore } from "../../kernel/resource-store.ts";
import { RELEASE, type Release, releaseName } from "../release/release.ts";
import { APP, type App, type AppSpec, type AppStatus, EMPTY_STATUS } from "./app.ts";
import type {
  AppDeps,
  ComputeDriver,
  ComputeTechnology,
  Instance,
  ProbeResult,
  StoreRole,
} from "./app-driver.ts";
import {
  type AppObserved,
  findServer,
  REHEARSAL_TASK,
  RELEASE_TASK,
  rehearsalTaskName,
  targetSet,
} from "./app-observed.ts";
import { planApp } from "./app-plan.ts";
import { keptPlacements, reportApp } from "./app-report.ts";
import type { AppStep, InstanceOrder } from "./app-step.ts";
import { variablesFor } from "./app-variables.ts";
import { defaultResources, graceMsOf, healthOf, lifeMsOf } from "./manifest.ts";
import { observeRollout } from "./rollout-observe.ts";
import { SMOKE_TASK } from "./smoke-report.ts";
import { candidateKey } from "./traffic-plan.ts";

/** Each release runs as what its own artifact is, whatever the next one will be. */
export const technologyOf = (release: Release | undefined): ComputeTechnology =>
  release?.status?.artifact?.kind === "image" ? "docker" : "process";

const LOOPBACK = "127.0.0.1";
const TECHNOLOGIES: readonly ComputeTechnology[] = ["process", "docker"];

/** Lines of output shown with a failure. */
export const TAIL_LINES = 20;
const LEASE_MARGIN_MS = 30_000;
/** An unready instance's output is read once its grace is nearly over. */
const TAIL_BEFORE_DEADLINE_MS = 2_000;

type Deps = AppDeps;

export function createAppReconciler(
  deps: Deps,
): Reconciler<AppSpec, AppStatus, AppObserved, AppStep> {
  return {
    kind: APP,
    observe: (app, signal) => observeApp(app, deps, signal),
    report: reportApp,
    plan: planApp,
    apply: (app, step, signal) => applyStep(app, step, deps, signal),
    isGone: (_app, { instances, edge, hasData, copy }) =>
      instances.length === 0 &&
      edge !== undefined &&
      !edge.declaration &&
      !edge.traffic &&
      !hasData &&
      (copy === undefined || copy.state === "none"),
  };
}

// --- looking

async function observeApp(app: App, deps: Deps, signal: AbortSignal): Promise<AppObserved> {
  const releases = loadReleases(app, deps.store);
  const [instances, edge, stores, hasData] = await Promise.all([
    listInstances(app, releases, deps),
    deps.edge.observe(app.name),
    storesReadiness(app, releases, deps),
    app.deleting && app.spec.deleteData ? deps.stores.hasData(app.name) : false,
  ]);
  const observed: AppObserved = {
    now: deps.clock.now(),
    releases,
    instances,
    probes: new Map(),
    tails: new Map(),
    smoke: new Map(),
    usage: new Map(),
    edge,
    stores,
    hasData,
    schedule: scheduleOf(app, releases, deps.clock.now()),
  };
  const probes = await probeUnjoined(app, observed, deps, signal);
  const tails = await tailSuspects(app, observed, deps);
  const holding = (name: string) => driverHolding(app, name, deps);
  const rehearsed = await observeRehearsal(app, observed, deps);
  const look = await observeRollout(app, observed, deps, holding, signal);
  return { ...observed, ...look, ...rehearsed, probes, tails };
}

async function observeRehearsal(app: App, { instances }: AppObserved, { stores }: Deps) {
  const { rollout, copied } = app.status ?? EMPTY_STATUS;
  const isOn = rollout?.phase === "rehearsal";
  if (!isOn && !copied) return {};
  const copy = await stores.copyState(app.name);
  if (!isOn || copy.state !== "ready") return { copy };
  const name = rehearsalTaskName(app, rollout.placement.set, rollout.generation);
  const isDone = instances.some((one) => one.name === name && one.exit?.code === 0);
  if (!isDone) return { copy };
  try {
    return { copy, taken: await stores.takenInCopy(app.name) };
  } catch (error) {
    const problem = `what it did can't be seen: ${messageOf(error)}`;
    return { copy: { state: "failed", label: copy.label, problem } as const };
  }
}

function loadReleases(app: App, store: ResourceStore): ReadonlyMap<number, Release> {
  const status = app.status ?? EMPTY_STATUS;
  // Also of what is only being drained: its manifest says how long it may take.
  const numbers = new Set([
    app.spec.release,
    ...keptPlacements(status).map(({ set }) => set.release),
    ...status.instances.map(({ release }) => release),
    ...(status.watch ? [status.watch.previous.set.release] : []),
  ]);
  const entries = [...numbers].flatMap((number): [number, Release][] => {
    const release = store.find(RELEASE, releaseName(app.name, number));
    return release ? [[number, release]] : [];
  });
  return new Map(entries);
}

// A container engine that is away must not hold up apps that have nothing to do with it.
async function listInstances(
  app: App,
  releases: ReadonlyMap<number, Release>,
  deps: Deps,
): Promise<readonly Instance[]> {
  const processes = await deps.compute("process").list(app.uid);
  const usesContainers = [...releases.values()].some((one) => technologyOf(one) === "docker");
  // Of a release that neither spec nor status speak of any more there may still be some.
  const isMissing = (app.status ?? EMPTY_STATUS).instances.some(
    ({ name }) => !processes.some((one) => one.name === name),
  );
  if (usesContainers) return [...processes, ...(await deps.compute("docker").list(app.uid))];
  if (!isMissing) return processes;
  const containers = await deps
    .compute("docker")
    .list(app.uid)
    .catch(() => []);
  return [...processes, ...containers];
}

async function storesReadiness(app: App, releases: ReadonlyMap<number, Release>, deps: Deps) {
  const manifest = releases.get(targetSet(app).release)?.spec.manifest;
  return manifest
    ? deps.stores.readiness(app.name, manifest)
    : ({ ready: true, startedAt: 0 } as const);
}

function scheduleOf(app: App, releases: ReadonlyMap<number, Release>, now: number) {
  const serving = app.status?.serving?.set.release;
  const jobs = releases.get(serving ?? 0)?.spec.manifest.jobs ?? {};
  return new Map(
    Object.entries(jobs).map(([job, { schedule, timezone }]) => {
      const cron = new Cron(schedule, { timezone, paused: true });
      const at = new Date(now);
      const lastDueAt = cron.previousRuns(1, at)[0]?.getTime() ?? 0;
      return [job, { lastDueAt, nextDueAt: cron.nextRun(at)?.getTime() ?? Infinity }];
    }),
  );
}

// Once an instance is in its pool the edge checks it; until then we ask it ourselves.
async function probeUnjoined(app: App, observed: AppObserved, deps: Deps, signal: AbortSignal) {
  const suspects = observed.instances.filter(
    ({ name, state, labels, stoppingSince }) =>
      state === "running" &&
      labels.role === "service" &&
      stoppingSince === undefined &&
      !findServer(observed, name) &&
      keptPlacements(app.status ?? EMPTY_STATUS).some(({ set }) => set.release === labels.release),
  );
  const entries = await Promise.all(
    suspects.map(async ({ name, address, labels, startedAt }): Promise<[string, ProbeResult]> => {
      const manifest = observed.releases.get(labels.release)?.spec.manifest;
      if (!manifest || !address) return [name, { ok: false, detail: "it has no address yet" }];
      const health = healthOf(manifest, labels.component);
      const protocol = manifest.services[labels.component]?.protocol;
      const result = await deps.probe.probe(
        address,
        { ...health, ...(protocol === "h2c" && { protocol }) },
        signal,
      );
      const lifeMs = lifeMsOf(health);
      const isYoung = observed.now - startedAt < lifeMs;
      return [
        name,
        result.ok && isYoung
          ? { ok: false, detail: `${result.detail}; it has to live for ${lifeMs / 1000} s` }
          : result,
      ];
    }),
  );
  return new Map(entries);
}

async function tailSuspects(app: App, observed: AppObserved, deps: Deps) {
  const rollout = app.status?.rollout;
  if (!rollout) return new Map<string, readonly string[]>();
  const manifest = observed.releases.get(rollout.placement.set.release)?.spec.manifest;
  const isLate = (component: string): boolean =>
    manifest !== undefined &&
    observed.now - rollout.phaseSince > graceMsOf(manifest, component) - TAIL_BEFORE_DEADLINE_MS;
  const isTaskLate = (startedAt: number): boolean =>
    observed.now - startedAt > (manifest?.release?.timeout ?? 0) - TAIL_BEFORE_DEADLINE_MS;
  const suspects = observed.instances.filter(
    ({ state, labels, startedAt, exit }) =>
      labels.release === rollout.placement.set.release &&
      (labels.role === "task"
        ? [RELEASE_TASK, REHEARSAL_TASK, SMOKE_TASK].includes(labels.component) &&
          (exit ? exit.code !== 0 : isTaskLate(startedAt))
        : state === "exited" || isLate(labels.component)),
  );
  const entries = await Promise.all(
    suspects.map(async (instance): Promise<[string, readonly string[]]> => {
      const driver = await driverHolding(app, instance.name, deps);
      return [instance.name, await driver.tail(app.uid, instance.name, TAIL_LINES)];
    }),
  );
  return new Map(entries);
}

// --- doing

async function applyStep(app: App, step: AppStep, deps: Deps, signal: AbortSignal): Promise<void> {
  switch (step.do) {
    case "start-instance":
      return startInstance(app, step.instance, deps, signal);
    case "terminate-instance":
      return (await driverHolding(app, step.name, deps)).terminate(app.uid, step.name);
    case "kill-instance":
      return (await driverHolding(app, step.name, deps)).kill(app.uid, step.name);
    case "remove-instance":
      await (await driverHolding(app, step.name, deps)).remove(app.uid, step.name);
      return deps.leases.release(releaseLease(app), step.name);
    case "declare-edge":
      return deps.edge.declare(app.name, step.declaration);
    case "join-pool":
      return deps.edge.join(app.name, step.server);
    case "drain-server":
      return deps.edge.drain(app.name, step.server);
    case "leave-pool":
      return deps.edge.leave(app.name, step.server);
    case "shift-traffic":
      return deps.edge.shift(app.name, step.traffic);
    case "withdraw-edge":
      return deps.edge.withdraw(app.name);
    case "make-copy":
      return deps.stores.makeCopy(app.name, step.label);
    case "drop-copy":
      return deps.stores.dropCopy(app.name);
    case "drop-data":
      return deps.stores.dropData(app.name);
  }
}

async function driverHolding(app: App, name: string, deps: Deps): Promise<ComputeDriver> {
  for (const technology of TECHNOLOGIES) {
    const driver = deps.compute(technology);
    const instances = await driver.list(app.uid).catch(() => []);
    if (instances.some((instance) => instance.name === name)) return driver;
  }
  return deps.compute("process");
}

async function startInstance(
  app: App,
  order: InstanceOrder,
  deps: Deps,
  signal: AbortSignal,
): Promise<void> {
  const start = (): Promise<void> => startOrdered(app, order, app.uid, deps, signal);
  if (order.component !== RELEASE_TASK) return start();
  // Held by the run itself, for as long as it may take: whoever else keeps this app does not begin
  // another. One that was seen to have ended gives it back.
  const { manifest, release } = requireBuilt(app, order, deps);
  const instances = await deps.compute(technologyOf(release)).list(app.uid);
  for (const { name, state } of instances)
    if (state === "exited") deps.leases.release(releaseLease(app), name);
  const ttlMs = (manifest.release?.timeout ?? 0) + LEASE_MARGIN_MS;
  takeLease(deps.leases, { name: releaseLease(app), owner: order.name, ttlMs });
  try {
    await start();
  } catch (error) {
    deps.leases.release(releaseLease(app), order.name);
    throw error;
  }
}

const releaseLease = (app: App): string => `release-command:${app.name}`;

/** Starts one instance of a built release, owned by `owner`, with everything the app's get. */
export async function startOrdered(
  app: App,
  order: InstanceOrder,
  owner: string,
  deps: Deps,
  signal: AbortSignal,
): Promise<void> {
  const { manifest, release, artifact } = requireBuilt(app, order, deps);
  const compute = deps.compute(technologyOf(release));
  const spec = {
    name: order.name,
    owner,
    appName: app.name,
    labels: {
      component: order.component,
      role: order.role,
      index: order.index,
      ...order.placement.set,
    },
    artifact,
    command: order.command,
    env: await variables(app, release, order, compute, deps),
    // Releases of an earlier build do not say everything.
    resources: {
      ...defaultResources,
      ...(manifest.services[order.component]?.resources ??
        manifest.workers[order.component]?.resources ??
        manifest.jobs[order.component]?.resources),
    },
    ...(order.takesInput && { takesInput: true }),
    ...(order.role === "service" && { port: manifest.services[order.component]?.port ?? 0 }),
  };
  await compute.start(spec, signal);
}

function requireBuilt(app: App, order: InstanceOrder, deps: Deps) {
  const number = order.placement.set.release;
  const release = loadReleases({ ...app, spec: { ...app.spec, release: number } }, deps.store).get(
    number,
  );
  const artifact = release?.status?.artifact;
  if (!release || !artifact) {
    throw stuck("release.not_built", `release ${number} of ${app.name} has no artifact`, {
      hint: "deploy again",
    });
  }
  return { release, artifact, manifest: release.spec.manifest };
}

const STORE_ROLES: Readonly<Record<string, StoreRole>> = {
  [RELEASE_TASK]: "owner",
  [REHEARSAL_TASK]: "rehearsal",
};

async function variables(
  app: App,
  release: Release,
  order: InstanceOrder,
  compute: ComputeDriver,
  deps: Deps,
) {
  const { manifest, secrets } = release.spec;
  const role = manifest.stores.postgres?.role ?? (manifest.release ? "runtime" : "owner");
  const host = Object.values(manifest.services).flatMap(({ routes }) => routes)[0]?.host;
  const localhost = await compute.localhost(release.spec.environment);
  if (localhost !== LOOPBACK) {
    const ports = await deps.stores.ports(app.name, manifest);
    await deps.edge.bridge(localhost, [...ports, ...deps.telemetry.ports]);
  }
  return variablesFor({
    release,
    order,
    localhost,
    stores: await deps.stores.ensureAccess(
      app.name,
      manifest,
      STORE_ROLES[order.component] ?? role,
      localhost,
    ),
    secrets: Object.fromEntries(
      Object.entries(secrets).map(([name, version]) => [
        name,
        deps.secrets.read(app.name, name, version),
      ]),
    ),
    internalPorts: deps.edge.internalPorts(app.name),
    telemetry: deps.telemetry.variables(order.name, localhost),
    publicUrl: host === undefined ? undefined : deps.publicUrl(host),
    candidateKey:
      order.component === SMOKE_TASK && app.status?.rollout
        ? candidateKey(app, app.status.rollout, manifest.rollout)
        : undefined,
  });
}
