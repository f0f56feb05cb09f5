// The composition root: the one file that knows every room. It builds a control plane from its
// parts; src/bin starts it.

import { createHash, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import type { FastifyInstance } from "fastify";
import type { ApiDeps } from "./api/api-deps.ts";
import { composeChangeControl } from "./api/change-control.ts";
import { anchorOf } from "./api/channel-routes.ts";
import { createApiServer } from "./api/server.ts";
import { composeMonitoring, type Monitoring, servingObjectives } from "./compose-monitoring.ts";
import { composeWorld, type World, type WorldOptions } from "./compose-world.ts";
import { CedarAuthorizer } from "./drivers/cedar/cedar-authorizer.ts";
import { writeJson, writeWhole } from "./drivers/files.ts";
import { deliver } from "./drivers/notifier/notifier.ts";
import { checkMigrations } from "./drivers/postgres/migration-check.ts";
import { NetworkProbe } from "./drivers/probe/http-probe.ts";
import { InstallationTelemetry } from "./drivers/rollout-telemetry.ts";
import { TelemetryClient } from "./drivers/telemetry-client.ts";
import type { Home } from "./host/home.ts";
import type { InstallationPorts } from "./host/ports.ts";
import { systemClock } from "./kernel/clock.ts";
import { Controller } from "./kernel/controller.ts";
import { type HoldfastError, messageOf, stuck } from "./kernel/error.ts";
import { systemRandom } from "./kernel/id.ts";
import type { AnyStep } from "./kernel/plan.ts";
import type { Reconciler } from "./kernel/reconciler.ts";
import { PLATFORM, type TelemetryPolicy } from "./kernel/signal.ts";
import { CEDAR_SCHEMA, rolePolicies } from "./resources/account/permissions.ts";
import { APP, type AppSpec, type AppStatus } from "./resources/app/app.ts";
import {
  type AppDeps,
  createAppReconciler,
  startOrdered,
  technologyOf,
} from "./resources/app/app-reconciler.ts";
import { ROLLOUT } from "./resources/app/rollout-wish.ts";
import { CHANGE, type ChangeSpec } from "./resources/change/change.ts";
import { type ChangeDriver, createChangeReconciler } from "./resources/change/change-reconciler.ts";
import { CHANNEL } from "./resources/channel/channel.ts";
import {
  ALERTING,
  CACHE,
  CACHE_EXPORTER,
  DATABASE,
  DATABASE_EXPORTER,
  EDGE,
  EDGE_NAME,
  ENVIRONMENT_ENGINES,
  type EngineSpec,
  HOST_EXPORTER,
  METRICS,
  MONITORING,
} from "./resources/engine/engine.ts";
import { createEngineReconciler } from "./resources/engine/engine-reconciler.ts";
import { ENVIRONMENT } from "./resources/environment/environment.ts";
import {
  RELEASE,
  type Release,
  type ReleaseSpec,
  type ReleaseStatus,
  releaseName,
} from "./resources/release/release.ts";
import { buildRequestOf, createReleaseReconciler } from "./resources/release/release-reconciler.ts";
import { releasesToForget } from "./resources/release/release-retention.ts";
import { TASK, type Task, type TaskSpec, type TaskStatus } from "./resources/task/task.ts";
import { createTaskReconciler } from "./resources/task/task-reconciler.ts";
import { TELEMETRY } from "./resources/telemetry/telemetry.ts";
import { TRAIN } from "./resources/train/train.ts";
import { createTrainReconciler, type TrainDriver } from "./resources/train/train-reconciler.ts";
import { WINDOW } from "./resources/window/window.ts";
import { backUpDatabase, openDatabase } from "./store/database.ts";
import { deriveKey, loadSecretKey, SecretVault } from "./store/secret-vault.ts";
import { SqliteStore } from "./store/sqlite-store.ts";
import { TokenStore } from "./store/token-store.ts";

export interface ControlPlaneOptions extends WorldOptions {
  readonly version: string;
  readonly log: (
    level: "info" | "warn" | "error",
    message: string,
    fields?: Record<string, unknown>,
  ) => void;
}

export interface ControlPlane {
  start(): Promise<void>;
  stop(): Promise<void>;
}

const SYSTEM = { name: "holdfast", from: "control-plane" } as const;
const WORKERS = { [APP]: 16, [RELEASE]: 4, other: 4 } as const;
const ADMIN_TOKEN = "admin";
const TASKS_KEPT = 20;
const CHANGES_FOLLOWED = 20;
const COPY_INTERVAL_MS = 5_000;
const NOTE_HEAD_EVERY_MS = 10 * 60_000;

export async function composeControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const { config, home, ports } = options;
  const db = openDatabase(home.database);
  const key = loadSecretKey(home.secretKey, config.secretKey, db);
  const store = new SqliteStore(db, systemClock, systemRandom, deriveKey(key, "audit"));
  const vault = new SecretVault(db, key, systemClock);
  const tokens = new TokenStore(db, systemClock);
  const world = composeWorld(options, store, vault);
  const monitoring = composeMonitoring(options, store, world);
  const deps = apiDeps(options, store, tokens, world, monitoring);
  const { changes, trains } = composeChangeControl(deps);
  const controllers = composeControllers(options, store, world, monitoring, { changes, trains });
  const onBug = (error: HoldfastError, request: string): void =>
    options.log("error", "a request failed on a bug", { request, error: messageOf(error) });
  const servers: FastifyInstance[] = (["socket", "tcp"] as const).map((access) =>
    createApiServer({ deps, access, onBug }),
  );
  const subscriptions: (() => void)[] = [];
  return {
    start: async () => {
      seed(store);
      issueAdminToken(tokens, home);
      // First the doors: where they can't be opened, nothing in the world may be touched.
      await servers[0]?.listen({ path: home.apiSocket });
      await servers[1]?.listen({ host: "127.0.0.1", port: ports.api });
      subscriptions.push(...linkKinds(store, controllers, world, options));
      for (const controller of controllers.values()) controller.start();
      subscriptions.push(keepCopy(db, home, options));
      subscriptions.push(noteAuditHead(deps, options));
      subscriptions.push(
        monitoring.startReporting(deps.telemetry, (problem) => options.log("warn", problem, {})),
      );
    },
    stop: async () => {
      await Promise.all(servers.map((server) => server.close()));
      for (const unsubscribe of subscriptions) unsubscribe();
      await Promise.all([...controllers.values()].map((controller) => controller.stop()));
      db.close();
    },
  };
}

type AnyController = Controller<unknown, object, unknown, AnyStep>;

function appDeps(
  { ports, home }: ControlPlaneOptions,
  store: SqliteStore,
  world: World,
  monitoring: Monitoring,
): AppDeps {
  const traffic = rolloutTelemetry(home, monitoring);
  return {
    clock: systemClock,
    store,
    leases: store,
    compute: (technology) => (technology === "docker" ? world.dockerCompute : world.processCompute),
    probe: new NetworkProbe(),
    edge: world.edge,
    stores: world.stores,
    secrets: world.secrets,
    telemetry: world.telemetrySink,
    traffic,
    smoke: world.smokeProbe,
    publicUrl: (host) => publicUrl(host, ports),
  };
}

const rolloutTelemetry = (home: Home, monitoring: Monitoring): InstallationTelemetry =>
  new InstallationTelemetry(new TelemetryClient(home.telemetrySocket), monitoring.client);

const publicUrl = (host: string, { https }: InstallationPorts): string =>
  `https://${host}${https === 443 ? "" : `:${https}`}`;

function composeControllers(
  options: ControlPlaneOptions,
  store: SqliteStore,
  world: World,
  monitoring: Monitoring,
  { changes, trains }: { changes: ChangeDriver; trains: TrainDriver },
): Map<string, AnyController> {
  const controllers = new Map<string, AnyController>();
  const apps = appDeps(options, store, world, monitoring);
  const look = (kind: string, name: string): void => controllers.get(kind)?.look(name);
  const reconcilers = [
    createEngineReconciler(EDGE, world.edge.asEngine(), systemClock),
    createEngineReconciler(DATABASE, world.postgres, systemClock),
    createEngineReconciler(CACHE, world.redis, systemClock),
    ...MONITORING.map((kind) =>
      createEngineReconciler(kind, monitoring.engines[kind], systemClock),
    ),
    createReleaseReconciler({
      clock: systemClock,
      builder: world.builder,
      hint: (name) => look(RELEASE, name),
    }),
    createAppReconciler(apps),
    createChangeReconciler({ clock: systemClock, store, driver: changes }),
    createTrainReconciler({ store, driver: trains }),
    createTaskReconciler({
      clock: systemClock,
      computeOf: (task) => computeOf(task, apps),
      start: (task, signal) => startTask(task, apps, signal),
    }),
  ] as unknown as Reconciler<unknown, object, unknown, AnyStep>[];
  for (const reconciler of reconcilers) {
    const maxWorkers = WORKERS[reconciler.kind as keyof typeof WORKERS] ?? WORKERS.other;
    const onError = (key: string, error: unknown, retryInMs: number): void =>
      options.log("warn", "a pass failed and is repeated", {
        kind: reconciler.kind,
        name: key,
        retryInMs,
        error: messageOf(error),
      });
    const deps = { store, journal: store };
    controllers.set(
      reconciler.kind,
      new Controller(reconciler, {
        clock: systemClock,
        random: systemRandom,
        maxWorkers,
        deps,
        onError,
      }),
    );
  }
  return controllers;
}

function computeOf(task: Task, deps: AppDeps) {
  const release = deps.store.find<ReleaseSpec, ReleaseStatus>({
    kind: RELEASE,
    name: releaseName(task.spec.appName, task.spec.release),
  });
  return deps.compute(technologyOf(release));
}

async function startTask(task: Task, deps: AppDeps, signal: AbortSignal): Promise<void> {
  const app = deps.store.find<AppSpec, AppStatus>({ kind: APP, name: task.spec.appName });
  if (!app)
    throw stuck("app.not_found", `${task.spec.appName} is gone`, { hint: "holdfast status" });
  const { release, command, appName } = task.spec;
  const index = task.name.split("/").at(-1) ?? "";
  const order = {
    name: `${appName.replace("/", ".")}.run.r${release}.${index}`,
    component: "run",
    role: "task" as const,
    index,
    placement: { set: { release, restarts: 0 }, slot: "a" as const, counts: {} },
    command,
  };
  await startOrdered(app, order, task.uid, deps, signal);
}

// What one kind's change means for another: hints only, so that nobody waits for the next look.
function linkKinds(
  store: SqliteStore,
  controllers: Map<string, AnyController>,
  world: World,
  { log, home: { telemetryPolicies } }: ControlPlaneOptions,
): (() => void)[] {
  writePolicies(store, telemetryPolicies);
  const appsChanged = (): void => controllers.get(APP)?.lookAtAll();
  const unsubscribe = store.subscribe((ref, what) => {
    if (ref.kind === RELEASE && what === "status")
      controllers.get(APP)?.look(ref.name.split("/").slice(0, 2).join("/"));
    if ([EDGE, DATABASE, CACHE].includes(ref.kind) && what === "status") appsChanged();
    if ((ref.kind === DATABASE_EXPORTER || ref.kind === CACHE_EXPORTER) && what === "status")
      controllers.get(METRICS)?.lookAtAll();
    if (ref.kind === APP && what === "status") lookAtChanges(store, controllers, ref.name);
    if (ref.kind === TRAIN && what === "status") controllers.get(CHANGE)?.lookAtAll();
    if (ref.kind === WINDOW) controllers.get(CHANGE)?.lookAtAll();
    if (ref.kind === ROLLOUT) controllers.get(APP)?.look(ref.name);
    if (ref.kind === TELEMETRY) writePolicies(store, telemetryPolicies);
    if (ref.kind === APP || ref.kind === CHANNEL)
      for (const kind of MONITORING) controllers.get(kind)?.lookAtAll();
    if (ref.kind === APP && what === "forgotten") forgetReleases(store, ref.name);
    if (ref.kind === APP && what !== "status") {
      void retainReleases(store, world, ref.name).catch((error: unknown) =>
        log("warn", "what old releases needed could not be removed", { error: messageOf(error) }),
      );
    }
    if (ref.kind === TASK && what === "spec") retainTasks(store, ref.name);
  });
  const unwatch = world.processCompute.watch((appName) => controllers.get(APP)?.look(appName));
  const unwatchDocker = world.dockerCompute.watch((appName) => controllers.get(APP)?.look(appName));
  return [unsubscribe, unwatch, unwatchDocker];
}

// Those that a rollout of the app belongs to: the last few.
function lookAtChanges(
  store: SqliteStore,
  controllers: Map<string, AnyController>,
  appName: string,
): void {
  const own = store
    .list<ChangeSpec, never>(CHANGE)
    .slice(-CHANGES_FOLLOWED)
    .filter(({ spec }) => spec.executed && `${spec.environment}/${spec.app}` === appName);
  for (const { name } of own) controllers.get(CHANGE)?.look(name);
}

// The telemetry process reads it; it has no other way to the platform's memory.
function writePolicies(store: SqliteStore, file: string): void {
  const policies = store
    .list<TelemetryPolicy, never>(TELEMETRY)
    .map(({ name, spec }) => [name, spec] as const);
  writeJson(file, Object.fromEntries(policies));
}

function forgetReleases(store: SqliteStore, appName: string): void {
  for (const release of store.list(RELEASE, `${appName}/`) as readonly Release[]) {
    store.markDeleting(release, { actor: SYSTEM, action: "destroy" });
    store.forget(release, release.uid);
  }
}

// With each change of an app, what only its oldest releases needed goes; all, once it is destroyed.
async function retainReleases(store: SqliteStore, world: World, appName: string): Promise<void> {
  const app = store.find<AppSpec, AppStatus>({ kind: APP, name: appName });
  const releases = store.list<ReleaseSpec, ReleaseStatus>(RELEASE, `${appName}/`);
  const forgotten = app ? releasesToForget(app, releases) : releases;
  if (app && forgotten.length === 0) return;
  for (const release of forgotten) {
    store.markDeleting(release, { actor: SYSTEM, action: "retention" });
    store.forget(release, release.uid);
  }
  const left = (prefix: string): readonly Release[] =>
    store.list<ReleaseSpec, ReleaseStatus>(RELEASE, prefix);
  await world.builder.prune(appName, () => left(`${appName}/`).map(buildRequestOf));
  await world.sources.prune(
    () => new Set([...sourcesOfChanges(store), ...left("").map(({ spec }) => spec.source.digest)]),
  );
}

// What waits for an approval has no release yet.
function sourcesOfChanges(store: SqliteStore): string[] {
  return store.list<ChangeSpec, never>(CHANGE).flatMap(({ spec }) => {
    const { source } = spec.request as { source?: { digest: string } };
    const isOver = spec.executed || spec.rejected || spec.withdrawn;
    return source && !isOver ? [source.digest] : [];
  });
}

// How the last commands of an app ended is kept; that of older ones nobody asks for.
function retainTasks(store: SqliteStore, name: string): void {
  const prefix = `${name.split("/").slice(0, 2).join("/")}/`;
  const ended = store
    .list<TaskSpec, TaskStatus>(TASK, prefix)
    .filter(({ status, deleting }) => status?.phase === "ended" && !deleting)
    .toSorted((one, other) => other.updatedAt - one.updatedAt);
  for (const task of ended.slice(TASKS_KEPT))
    store.markDeleting(task, { actor: SYSTEM, action: "retention" });
}

function seed(store: SqliteStore): void {
  const options = { actor: SYSTEM, action: "install" };
  const write = (kind: string, name: string, engine: EngineSpec["engine"]): void => {
    store.writeSpec<EngineSpec>({ kind, name }, { engine }, options);
  };
  write(EDGE, EDGE_NAME, "haproxy");
  write(METRICS, PLATFORM, "prometheus");
  write(ALERTING, PLATFORM, "alertmanager");
  write(HOST_EXPORTER, PLATFORM, "node-exporter");
  // What an environment of an earlier build does not have yet.
  for (const { name } of store.list(ENVIRONMENT))
    for (const [kind, engine] of ENVIRONMENT_ENGINES) write(kind, name, engine);
}

function issueAdminToken(tokens: TokenStore, home: Home): void {
  if (tokens.has(ADMIN_TOKEN) && existsSync(home.adminToken)) return;
  writeWhole(home.adminToken, `${tokens.issue(ADMIN_TOKEN).reveal()}\n`, 0o600);
}

// Wherever logs are kept, the chain can be compared with what it was.
function noteAuditHead(deps: ApiDeps, { log }: ControlPlaneOptions): () => void {
  let noted = "";
  const note = (): void => {
    const anchor = anchorOf(deps);
    if (anchor !== noted) log("info", "head of the audit chain", { audit: anchor });
    noted = anchor;
  };
  note();
  const timer = setInterval(note, NOTE_HEAD_EVERY_MS);
  return () => {
    clearInterval(timer);
    note();
  };
}

// The copy that `up --restore-state` puts back is seconds old at most; at rest nothing is written.
function keepCopy(db: DatabaseSync, home: Home, options: ControlPlaneOptions): () => void {
  let copied: unknown;
  const copy = (): void => {
    const changes = db.prepare("SELECT total_changes() AS n").get()?.["n"];
    if (changes === copied) return;
    try {
      backUpDatabase(db, home.database);
      copied = changes;
    } catch (error) {
      options.log("warn", "the copy of the state could not be written", {
        error: messageOf(error),
      });
    }
  };
  copy();
  const timer = setInterval(copy, COPY_INTERVAL_MS);
  return () => {
    clearInterval(timer);
    copy();
  };
}

function apiDeps(
  options: ControlPlaneOptions,
  store: SqliteStore,
  tokens: TokenStore,
  world: World,
  monitoring: Monitoring,
): ApiDeps {
  const { home, ports, version } = options;
  return {
    clock: systemClock,
    store,
    sources: world.sources,
    secrets: world.secrets,
    checkMigrations,
    readMetric: (metric, scope) => rolloutTelemetry(home, monitoring).read(metric, scope),
    telemetry: new TelemetryClient(home.telemetrySocket),
    monitoring: monitoring.client,
    mayDeliver: monitoring.mayDeliver,
    channelSecrets: world.channelSecrets,
    exportSecrets: world.exportSecrets,
    notify: deliver,
    digest: (text) => createHash("sha256").update(text).digest("hex").slice(0, 32),
    objectives: () => servingObjectives(store),
    audit: store.audit,
    journalOf: (ref, limit, afterId) => store.journalOf(ref, limit, afterId),
    findToken: (token) => tokens.find(token),
    tokens,
    authorizer: new CedarAuthorizer({ schema: CEDAR_SCHEMA, rolePolicies }),
    publicUrl: (host) => publicUrl(host, ports),
    installation: () => ({
      version,
      home: home.root,
      httpPort: ports.http,
      httpsPort: ports.https,
      apiPort: ports.api,
      ca: join(home.caDir, "ca.crt"),
      pid: process.pid,
    }),
    newId: () => randomBytes(4).toString("hex"),
  };
}
