// The composition root: the one file that knows every room. It builds a control plane from its
// parts; src/bin starts it.

import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import type { FastifyInstance } from "fastify";
import { createApiServer } from "./api/server.ts";
import { type AnyController, linkKinds } from "./compose-links.ts";
import { composeMonitoring, type Monitoring } from "./compose-monitoring.ts";
import { type ControlPlaneOptions, composeWorld, type World } from "./compose-world.ts";
import { CedarAuthorizer } from "./drivers/cedar/cedar-authorizer.ts";
import { tellForge } from "./drivers/forge/forge.ts";
import { deliver } from "./drivers/notifier/notifier.ts";
import { checkMigrations } from "./drivers/postgres/migrations/migration-check.ts";
import { NetworkProbe } from "./drivers/probe/http-probe.ts";
import { InstallationTelemetry } from "./drivers/rollout-telemetry.ts";
import { firstStepOf, runbookName } from "./drivers/runbooks.ts";
import { TelemetryClient } from "./drivers/telemetry-client.ts";
import { listenForEdge } from "./host/edge-socket.ts";
import type { Home } from "./host/home.ts";
import { publicUrl } from "./host/ports.ts";
import {
  issueAdminToken,
  keepCopy,
  keepHead,
  noteAuditHead,
  noteRestore,
} from "./host/state-upkeep.ts";
import { systemClock } from "./kernel/clock.ts";
import { Controller } from "./kernel/controller.ts";
import { type HoldfastError, messageOf } from "./kernel/error.ts";
import { systemRandom } from "./kernel/id.ts";
import type { AnyKind } from "./kernel/kind.ts";
import type { AnyStep } from "./kernel/plan.ts";
import type { Reconciler } from "./kernel/reconciler.ts";
import { anchorOf } from "./operations/announcing.ts";
import { composeChangeControl } from "./operations/change-control.ts";
import type { OperationDeps } from "./operations/operation-deps.ts";
import { runbookUrl } from "./operations/runbook-link.ts";
import { seed } from "./operations/seed.ts";
import { servingObjectives } from "./operations/serving.ts";
import { computeOf, startTask } from "./operations/task-start.ts";
import { UnknownTokens } from "./operations/unknown-tokens.ts";
import { CEDAR_SCHEMA, rolePolicies } from "./resources/account/permissions.ts";
import { APP } from "./resources/app/app.ts";
import type { AppDeps } from "./resources/app/app-driver.ts";
import { createAppReconciler } from "./resources/app/app-reconciler.ts";
import { assertKnown, CATALOG } from "./resources/catalog.ts";
import { type ChangeDriver, createChangeReconciler } from "./resources/change/change-reconciler.ts";
import { CACHE, DATABASE, EDGE } from "./resources/engine/engine.ts";
import { createEngineReconciler } from "./resources/engine/engine-reconciler.ts";
import { createPushReconciler, type PushDriver } from "./resources/push/push-reconciler.ts";
import { RELEASE } from "./resources/release/release.ts";
import { createReleaseReconciler } from "./resources/release/release-reconciler.ts";
import { taskInstanceName } from "./resources/task/task.ts";
import { createTaskReconciler } from "./resources/task/task-reconciler.ts";
import { createTrainReconciler, type TrainDriver } from "./resources/train/train-reconciler.ts";
import { headFileOf, openDatabase } from "./store/database.ts";
import { deriveKey, loadSecretKey, SecretVault } from "./store/secret-vault.ts";
import { SqliteStore } from "./store/sqlite-store.ts";
import { TokenStore } from "./store/token-store.ts";

export interface ControlPlane {
  start(): Promise<void>;
  stop(): Promise<void>;
}

const WORKERS = { [APP.name]: 16, [RELEASE.name]: 4, other: 4 } as const;

export async function composeControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const { config, home, ports } = options;
  const db = openDatabase(home.database);
  const key = loadSecretKey(home.secretKey, config.secretKey, db);
  const headFile = headFileOf(home.database);
  const store = new SqliteStore(db, systemClock, systemRandom, deriveKey(key, "audit"), (head) =>
    keepHead(headFile, head, options.log),
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
      await listenForEdge(
        async (path) => servers[2]?.listen({ path }),
        home.edgeApiSocket,
        config.isRoot,
      );
      subscriptions.push(...linkKinds(store, controllers, world, options));
      for (const controller of controllers.values()) controller.start();
      subscriptions.push(keepCopy(db, store, home, options.log));
      subscriptions.push(noteAuditHead(() => anchorOf(deps), options.log));
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
    runbook: (path, labels) => {
      const firstStep = firstStepOf(path, labels["app"]);
      if (firstStep === undefined) return {};
      const url = runbookUrl(store, (host) => publicUrl(host, ports), runbookName(path), labels);
      return { firstStep, ...(url !== undefined && { runbookUrl: url }) };
    },
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
