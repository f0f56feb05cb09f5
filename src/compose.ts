// The composition root: the one file that knows every room. It builds a control plane from its
// parts; src/bin starts it.

import { createHash, randomBytes } from "node:crypto";
import { chmodSync, chownSync, existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import type { FastifyInstance } from "fastify";
import { createApiServer } from "./api/server.ts";
import { type AnyController, linkKinds } from "./compose-links.ts";
import {
  composeMonitoring,
  type Monitoring,
  runbookAt,
  servingObjectives,
} from "./compose-monitoring.ts";
import { type ControlPlaneOptions, composeWorld, type World } from "./compose-world.ts";
import { CedarAuthorizer } from "./drivers/cedar/cedar-authorizer.ts";
import { readJson, writeWhole } from "./drivers/files.ts";
import { tellForge } from "./drivers/forge/forge.ts";
import { deliver } from "./drivers/notifier/notifier.ts";
import { checkMigrations } from "./drivers/postgres/migrations/migration-check.ts";
import { NetworkProbe } from "./drivers/probe/http-probe.ts";
import { findSystemUser } from "./drivers/process/system-user.ts";
import { InstallationTelemetry } from "./drivers/rollout-telemetry.ts";
import { TelemetryClient } from "./drivers/telemetry-client.ts";
import type { Home } from "./host/home.ts";
import type { InstallationPorts } from "./host/ports.ts";
import type { RestoreNote } from "./host/restore-state.ts";
import { systemClock } from "./kernel/clock.ts";
import { Controller } from "./kernel/controller.ts";
import { type HoldfastError, messageOf, stuck } from "./kernel/error.ts";
import { systemRandom } from "./kernel/id.ts";
import type { AnyKind } from "./kernel/kind.ts";
import type { AnyStep } from "./kernel/plan.ts";
import type { Reconciler } from "./kernel/reconciler.ts";
import { SYSTEM } from "./kernel/resource-store.ts";
import { PLATFORM } from "./kernel/signal.ts";
import { anchorOf } from "./operations/announcing.ts";
import { composeChangeControl } from "./operations/change-control.ts";
import type { OperationDeps } from "./operations/operation-deps.ts";
import { UnknownTokens } from "./operations/unknown-tokens.ts";
import { CEDAR_SCHEMA, rolePolicies } from "./resources/account/permissions.ts";
import { APP } from "./resources/app/app.ts";
import type { AppDeps } from "./resources/app/app-driver.ts";
import { createAppReconciler, startOrdered, technologyOf } from "./resources/app/app-reconciler.ts";
import { assertKnown, CATALOG } from "./resources/catalog.ts";
import { type ChangeDriver, createChangeReconciler } from "./resources/change/change-reconciler.ts";
import {
  ALERTING,
  CACHE,
  DATABASE,
  EDGE,
  EDGE_NAME,
  ENVIRONMENT_ENGINES,
  type EngineSpec,
  HOST_EXPORTER,
  METRICS,
} from "./resources/engine/engine.ts";
import { createEngineReconciler } from "./resources/engine/engine-reconciler.ts";
import { ENVIRONMENT } from "./resources/environment/environment.ts";
import { createPushReconciler, type PushDriver } from "./resources/push/push-reconciler.ts";
import { RELEASE, releaseName } from "./resources/release/release.ts";
import { createReleaseReconciler } from "./resources/release/release-reconciler.ts";
import { type Task, taskInstanceName } from "./resources/task/task.ts";
import { createTaskReconciler } from "./resources/task/task-reconciler.ts";
import { createTrainReconciler, type TrainDriver } from "./resources/train/train-reconciler.ts";
import type { AuditHead, AuditHeadFile } from "./store/audit-head-file.ts";
import { headFileOf, openDatabase } from "./store/database.ts";
import { deriveKey, loadSecretKey, SecretVault } from "./store/secret-vault.ts";
import { SqliteStore } from "./store/sqlite-store.ts";
import { addCopy } from "./store/state-copies.ts";
import { TokenStore } from "./store/token-store.ts";

export interface ControlPlane {
  start(): Promise<void>;
  stop(): Promise<void>;
}

const WORKERS = { [APP.name]: 16, [RELEASE.name]: 4, other: 4 } as const;
const ADMIN_TOKEN = "admin";
const COPY_INTERVAL_MS = 5_000;
const NOTE_HEAD_EVERY_MS = 10 * 60_000;

export async function composeControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const { config, home, ports } = options;
  const db = openDatabase(home.database);
  const key = loadSecretKey(home.secretKey, config.secretKey, db);
  const headFile = headFileOf(home.database);
  const store = new SqliteStore(db, systemClock, systemRandom, deriveKey(key, "audit"), (head) =>
    keepHead(headFile, head, options),
  );
  assertKnown(store.kinds());
  store.assertReadable(CATALOG);
  noteRestore(store, home);
  const vault = new SecretVault(db, key, systemClock);
  const tokens = new TokenStore(db, systemClock);
  const world = composeWorld(options, store, vault);
  const monitoring = composeMonitoring(options, store, world);
  const deps = apiDeps(options, store, tokens, world, monitoring);
  const { changes, approvers, trains, pushes } = composeChangeControl(deps);
  const controllers = composeControllers(options, store, world, monitoring, {
    changes: {
      gate: (change) => changes.gate(change),
      standing: (change) => approvers.standing(change),
      execute: (number) => changes.execute(number),
    },
    trains,
    pushes,
  });
  const onBug = (error: HoldfastError, request: string): void =>
    options.log("error", "a request failed on a bug", { request, error: messageOf(error) });
  const servers: FastifyInstance[] = (["socket", "tcp", "edge"] as const).map((access) =>
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
      await listenForEdge(servers[2], options);
      subscriptions.push(...linkKinds(store, controllers, world, options));
      for (const controller of controllers.values()) controller.start();
      subscriptions.push(keepCopy(db, store, home, options));
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
      headFile.close();
    },
  };
}

// The owner's socket is ours by now: what is left of this one is nobody's.
async function listenForEdge(
  server: FastifyInstance | undefined,
  { home, config }: ControlPlaneOptions,
): Promise<void> {
  rmSync(home.edgeApiSocket, { force: true });
  await server?.listen({ path: home.edgeApiSocket });
  chmodSync(home.edgeApiSocket, 0o600);
  const uid = config.isRoot ? findSystemUser("haproxy")?.uid : undefined;
  if (uid !== undefined) chownSync(home.edgeApiSocket, uid, 0);
}

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
  { changes, trains, pushes }: { changes: ChangeDriver; trains: TrainDriver; pushes: PushDriver },
): Map<string, AnyController> {
  const controllers = new Map<string, AnyController>();
  const apps = appDeps(options, store, world, monitoring);
  const look = (kind: AnyKind, name: string): void => controllers.get(kind.name)?.look(name);
  const reconcilers = [
    createEngineReconciler(EDGE, world.edge.asEngine(), systemClock),
    createEngineReconciler(DATABASE, world.postgres, systemClock),
    createEngineReconciler(CACHE, world.redis, systemClock),
    ...monitoring.engines.map(([kind, driver]) =>
      createEngineReconciler(kind, driver, systemClock),
    ),
    createReleaseReconciler({
      clock: systemClock,
      store,
      builder: world.builder,
      hint: (name) => look(RELEASE, name),
    }),
    createAppReconciler(apps),
    createChangeReconciler({ clock: systemClock, store, driver: changes }),
    createTrainReconciler({ driver: trains }),
    createPushReconciler({ clock: systemClock, driver: pushes }),
    createTaskReconciler({
      clock: systemClock,
      computeOf: (task) => computeOf(task, apps),
      start: (task, signal) => startTask(task, apps, signal),
    }),
  ] as unknown as Reconciler<unknown, object, unknown, AnyStep>[];
  for (const reconciler of reconcilers) {
    const { name: kind } = reconciler.kind;
    const maxWorkers = WORKERS[kind as keyof typeof WORKERS] ?? WORKERS.other;
    const onError = (key: string, error: unknown, retryInMs: number): void =>
      options.log("warn", "a pass failed and is repeated", {
        kind,
        name: key,
        retryInMs,
        error: messageOf(error),
      });
    const deps = { store, journal: store };
    controllers.set(
      kind,
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
  const release = deps.store.find(RELEASE, releaseName(task.spec.appName, task.spec.release));
  return deps.compute(technologyOf(release));
}

async function startTask(task: Task, deps: AppDeps, signal: AbortSignal): Promise<void> {
  const app = deps.store.find(APP, task.spec.appName);
  if (!app)
    throw stuck("app.not_found", `${task.spec.appName} is gone`, { hint: "holdfast status" });
  const { release, command, appName, takesInput } = task.spec;
  const index = task.name.split("/").at(-1) ?? "";
  const order = {
    name: `${appName.replace("/", ".")}.run.r${release}.${index}`,
    component: "run",
    role: "task" as const,
    index,
    placement: { set: { release, restarts: 0 }, slot: "a" as const, counts: {} },
    command,
    ...(takesInput && { takesInput }),
  };
  await startOrdered(app, order, task.uid, deps, signal);
}

function seed(store: SqliteStore): void {
  const options = { actor: SYSTEM, action: "install" };
  const write = (kind: typeof EDGE, name: string, engine: EngineSpec["engine"]): void => {
    store.writeSpec(kind, name, { engine }, options);
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
function noteAuditHead(deps: OperationDeps, { log }: ControlPlaneOptions): () => void {
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

// What is in the database counts, also where this could not be written.
function keepHead(file: AuditHeadFile, head: AuditHead, { log }: ControlPlaneOptions): void {
  try {
    file.keep(head);
  } catch (error) {
    log("error", "the head of the audit chain could not be noted outside of the state", {
      seq: head.seq,
      error: messageOf(error),
    });
  }
}

// That the state was put back from a copy, and what is missing since, is in the audit for good.
function noteRestore(store: SqliteStore, home: Home): void {
  const restored = readJson<RestoreNote>(home.restoreNote);
  if (!restored) return;
  const { at, ...what } = restored;
  store.audit.append({
    at,
    actor: SYSTEM.name,
    source: SYSTEM.from,
    action: "restore",
    kind: "state",
    name: "installation",
    generation: 0,
    change: Object.entries(what).map(([field, to]) => ({ field, to })),
  });
  rmSync(home.restoreNote);
}

// The copy that `up --restore-state` puts back is seconds old at most; at rest nothing is written.
function keepCopy(
  db: DatabaseSync,
  store: SqliteStore,
  home: Home,
  options: ControlPlaneOptions,
): () => void {
  let copied: unknown;
  const copy = (): void => {
    const changes = db.prepare("SELECT total_changes() AS n").get()?.["n"];
    if (changes === copied) return;
    try {
      addCopy(db, home.database, store.audit.head().seq, systemClock.now());
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
): OperationDeps {
  const { home, ports, version } = options;
  return {
    clock: systemClock,
    store,
    sources: world.sources,
    secrets: world.secrets,
    checkMigrations: async (appName, files) =>
      checkMigrations(files, await world.stores.schema(appName)),
    feedTask: (task, input) =>
      computeOf(task, appDeps(options, store, world, monitoring)).feed(
        task.uid,
        taskInstanceName(task),
        input,
      ),
    readMetric: (metric, scope) => rolloutTelemetry(home, monitoring).read(metric, scope),
    telemetry: new TelemetryClient(home.telemetrySocket),
    monitoring: monitoring.client,
    mayDeliver: monitoring.mayDeliver,
    toldMemory: monitoring.toldMemory,
    sealed: world.sealed,
    repositories: world.repositories,
    refusedDeliveries: new Map(),
    git: world.git,
    tellForge,
    notify: deliver,
    runbook: (path, labels) => runbookAt(store, (host) => publicUrl(host, ports), path, labels),
    digest: (text) => createHash("sha256").update(text).digest("hex").slice(0, 32),
    objectives: () => servingObjectives(store),
    audit: store.audit,
    journalOf: (ref, limit, afterId) => store.journalOf(ref, limit, afterId),
    findToken: (token) => tokens.find(token),
    unknownTokens: new UnknownTokens({ audit: store.audit, clock: systemClock }),
    tokens,
    authorizer: new CedarAuthorizer({ schema: CEDAR_SCHEMA, rolePolicies }),
    publicUrl: (host) => publicUrl(host, ports),
    apiHost: options.config.apiHost,
    installation: () => ({
      version,
      home: home.root,
      httpPort: ports.http,
      httpsPort: ports.https,
      apiPort: ports.api,
      apiUrl:
        options.config.apiHost === undefined
          ? `http://127.0.0.1:${ports.api}`
          : publicUrl(options.config.apiHost, ports),
      ca: join(home.caDir, "ca.crt"),
      pid: process.pid,
    }),
    newId: () => randomBytes(4).toString("hex"),
  };
}
