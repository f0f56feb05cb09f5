// What watches, put together: the programs as engines, what they are to watch from the apps that
// there are, and the report that telemetry gets of the control plane's view. Part of the
// composition root.

import { existsSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import type { World, WorldOptions } from "./compose-world.ts";
import { ensureKeyFile, readText, writeWhole } from "./drivers/files.ts";
import { findSystemUser, giveTo } from "./drivers/process/system-user.ts";
import { renderAlertmanager } from "./drivers/prometheus/alertmanager-config.ts";
import {
  MonitoringEngineDriver,
  type MonitoringProgram,
} from "./drivers/prometheus/monitoring-engine-driver.ts";
import { PrometheusClient } from "./drivers/prometheus/prometheus-client.ts";
import {
  renderPrometheus,
  type StoreTarget,
  type Target,
} from "./drivers/prometheus/prometheus-config.ts";
import { toldMemory } from "./drivers/prometheus/told-memory.ts";
import { firstStepOf, runbookName } from "./drivers/runbooks.ts";
import { enginePort, portToStart } from "./host/ports.ts";
import { systemClock } from "./kernel/clock.ts";
import { asHoldfastError, messageOf } from "./kernel/error.ts";
import type { ResourceStore } from "./kernel/resource-store.ts";
import {
  type ExportTarget,
  type InstanceUsage,
  PLATFORM,
  type PlatformReport,
  RUNBOOKS,
} from "./kernel/signal.ts";
import { openTargetOf, targetOf } from "./operations/export-target.ts";
import { type Backlog, ruleGroups } from "./resources/app/alert-rules.ts";
import { APP, type App, type InstanceView } from "./resources/app/app.ts";
import { technologyOf } from "./resources/app/app-reconciler.ts";
import { type Manifest, needsOf } from "./resources/app/manifest.ts";
import { type Objective, objectivesOf } from "./resources/app/objectives.ts";
import { type AlertNotice, CHANNEL } from "./resources/channel/channel.ts";
import {
  ALERTING,
  CACHE,
  CACHE_EXPORTER,
  DATABASE,
  DATABASE_EXPORTER,
  EDGE,
  HOST_EXPORTER,
  METRICS,
  STORE_KINDS,
} from "./resources/engine/engine.ts";
import { EXPORT } from "./resources/export/export.ts";
import { RELEASE, releaseName } from "./resources/release/release.ts";
import type { TelemetryReader } from "./resources/telemetry/telemetry-driver.ts";
import { deliverToken, scrapeToken } from "./telemetry/otlp/sender.ts";

const RETENTION = { time: "30d", size: "2GB" } as const;
const REPORT_EVERY_MS = 5_000;

/** What apps serve now, with the manifest of the release that does. */
interface Serving {
  readonly environment: string;
  readonly app: string;
  readonly release: number;
  readonly manifest: Manifest;
}

export function servingApps(store: ResourceStore): readonly Serving[] {
  return store.list(APP).flatMap(({ name, status }) => {
    const release = status?.serving?.set.release;
    if (release === undefined) return [];
    const found = store.find(RELEASE, releaseName(name, release));
    const [environment = "", app = ""] = name.split("/");
    return found ? [{ environment, app, release, manifest: found.spec.manifest }] : [];
  });
}

export const servingObjectives = (store: ResourceStore): readonly Objective[] =>
  servingApps(store).flatMap(({ environment, app, manifest }) =>
    objectivesOf(environment, app, manifest),
  );

/** What a runbook says to do first, and where the edge shows it: below a route of the app that it is about. */
export function runbookAt(
  store: ResourceStore,
  publicUrl: (host: string) => string,
  path: string,
  { environment, app }: Readonly<Record<string, string>>,
): Pick<AlertNotice, "firstStep" | "runbookUrl"> {
  const firstStep = firstStepOf(path, app);
  if (firstStep === undefined) return {};
  // The edge shows them: while it is down, that leads nowhere.
  if (runbookName(path) === "edge-down") return { firstStep };
  const shown = servingApps(store)
    .map((one) => ({
      fits: Number(one.environment === environment) + Number(one.app === app),
      route: Object.values(one.manifest.services)
        .flatMap(({ routes }) => routes)
        .find(({ host }) => !host.startsWith("*.")),
    }))
    .filter(({ route }) => route !== undefined)
    .sort((a, b) => b.fits - a.fits)[0]?.route;
  if (!shown) return { firstStep };
  const base = publicUrl(shown.host) + shown.path.replace(/\/$/, "");
  return { firstStep, runbookUrl: `${base}${RUNBOOKS}${runbookName(path)}` };
}

type ProgramName = "prometheus" | "alertmanager" | "node-exporter";

interface Surroundings {
  readonly options: WorldOptions;
  readonly store: ResourceStore;
  readonly world: World;
  readonly key: Buffer;
  /** The port of a program, once it is known: files are rendered without waiting. */
  readonly knownPort: (name: ProgramName) => number | undefined;
}

export function composeMonitoring(options: WorldOptions, store: ResourceStore, world: World) {
  const { home } = options;
  const key = ensureKeyFile(home.telemetryKey);
  const known: Partial<Record<ProgramName, number>> = {};
  const port = async (name: ProgramName): Promise<number> => {
    const found = known[name] ?? (await enginePort(home, name, PLATFORM));
    known[name] = found;
    return found;
  };
  const around = { options, store, world, key, knownPort: (name: ProgramName) => known[name] };
  const engine = (name: ProgramName, program: MonitoringProgram) =>
    new MonitoringEngineDriver({
      clock: systemClock,
      program,
      closePort: () => world.processCompute.keepApart(),
      dirOf: () => join(home.monitoringDir, name),
      logFileOf: () => home.logFile(`engine.${name}`),
      portOf: async () => {
        // What one of them is told of the others is complete from the beginning.
        for (const other of PROGRAMS) await port(other);
        return port(name);
      },
      portToStart: async () => {
        const found = await portToStart(home, name, PLATFORM);
        known[name] = found;
        return found;
      },
    });
  const exporter = (name: string, program: MonitoringProgram) =>
    new MonitoringEngineDriver({
      clock: systemClock,
      program,
      closePort: () => world.processCompute.keepApart(),
      dirOf: (environment) => join(home.monitoringDir, `${name}.${environment}`),
      logFileOf: (environment) => home.logFile(`engine.${name}.${environment}`),
      portOf: (environment) => enginePort(home, name, environment),
      portToStart: (environment) => portToStart(home, name, environment),
    });
  return {
    engines: [
      [METRICS, engine("prometheus", prometheusProgram(around))],
      [ALERTING, engine("alertmanager", alertmanagerProgram(around))],
      [HOST_EXPORTER, engine("node-exporter", HOST_EXPORTER_PROGRAM)],
      [
        DATABASE_EXPORTER,
        exporter("postgres-exporter", {
          ...DATABASE_EXPORTER_PROGRAM,
          ...world.storeMonitors.postgres,
        }),
      ],
      [
        CACHE_EXPORTER,
        exporter("redis-exporter", { ...CACHE_EXPORTER_PROGRAM, ...world.storeMonitors.redis }),
      ],
    ] as const,
    client: new PrometheusClient({
      prometheus: () => port("prometheus"),
      alertmanager: () => port("alertmanager"),
    }),
    toldMemory: toldMemory(join(home.monitoringDir, "told.json")),
    mayDeliver: (authorization: string | undefined) =>
      authorization === `Bearer ${deliverToken(key)}`,
    startReporting: (telemetry: TelemetryReader, onProblem: (problem: string) => void) =>
      startReporting({ store, world, telemetry, onProblem }),
  };
}

interface Reporting {
  readonly store: ResourceStore;
  readonly world: World;
  readonly telemetry: TelemetryReader;
  readonly onProblem: (problem: string) => void;
}

/** Tells telemetry how everything is, again and again. Returns what ends that. */
function startReporting({ store, world, telemetry, onProblem }: Reporting): () => void {
  let isTelling = false;
  let said = "";
  const problem = (text: string): void => {
    if (text !== said && text !== "") onProblem(text);
    said = text;
  };
  const tell = async (): Promise<void> => {
    const { exports, problems } = readExports(store, world);
    problem(problems.join("; "));
    const report = await platformReport(store, world);
    // While telemetry is away there is an alert for that; it is told again in a moment.
    await telemetry.ask("/platform", { ...report, exports }).catch((error: unknown) => {
      if (asHoldfastError(error).code !== "telemetry.away") throw error;
    });
  };
  // One after the other: a late report must not undo a newer one.
  const report = (): void => {
    if (isTelling) return;
    isTelling = true;
    void tell()
      .catch((error: unknown) => problem(messageOf(error)))
      .finally(() => {
        isTelling = false;
      });
  };
  const timer = setInterval(report, REPORT_EVERY_MS);
  return () => clearInterval(timer);
}

const PROGRAMS: readonly ProgramName[] = ["prometheus", "alertmanager", "node-exporter"];

/** A secret that the program reads from a file of its own. */
function tokenFile({ options }: Surroundings, name: string, token: string): string {
  const path = join(options.home.monitoringDir, `${name}.token`);
  if (readText(path) !== token) {
    writeWhole(path, token, 0o600);
    giveTo(findSystemUser("prometheus"), path);
  }
  return path;
}

function prometheusProgram(around: Surroundings): MonitoringProgram {
  const { options, store, world, key, knownPort } = around;
  const { root, telemetryDir, monitoringDir } = options.home;
  const stores = options.home.environmentDir("production");
  const mountPoints = new Set([root, telemetryDir, monitoringDir, stores].map(mountPointOf));
  return {
    command: "prometheus",
    packages: "prometheus",
    files: () =>
      renderPrometheus({
        telemetry: {
          address: `127.0.0.1:${options.ports.otlpHttp}`,
          tokenFile: tokenFile(around, "scrape", scrapeToken(key)),
        },
        edge: `127.0.0.1:${options.ports.edgeMetrics}`,
        stores: storeTargets(store),
        hostExporter: `127.0.0.1:${knownPort("node-exporter")}`,
        alertmanager: `127.0.0.1:${knownPort("alertmanager")}`,
        apps: metricTargets(store, world),
        groups: ruleGroups(servingObjectives(store), backlogsOf(store)),
        mountPoints: [...mountPoints].sort(),
      }),
    argv: (dir, port) => [
      `--config.file=${dir}/prometheus.yml`,
      `--storage.tsdb.path=${dir}/data`,
      `--storage.tsdb.retention.time=${RETENTION.time}`,
      `--storage.tsdb.retention.size=${RETENTION.size}`,
      `--web.listen-address=127.0.0.1:${port}`,
      "--log.format=json",
    ],
    readyPath: "/-/ready",
  };
}

function alertmanagerProgram(around: Surroundings): MonitoringProgram {
  const { options, store, key } = around;
  return {
    command: "prometheus-alertmanager",
    packages: "prometheus-alertmanager",
    files: () =>
      renderAlertmanager({
        channels: store
          .list(CHANNEL)
          .map(({ name, spec }) => ({ name, severities: spec.severities })),
        stores: storeNeeds(store),
        deliverUrl: `http://127.0.0.1:${options.ports.api}/v1/channels`,
        tokenFile: tokenFile(around, "deliver", deliverToken(key)),
      }),
    argv: (dir, port) => [
      `--config.file=${dir}/alertmanager.yml`,
      `--storage.path=${dir}/data`,
      // What was silenced and told must outlive a kill: it is written down this often.
      "--data.maintenance-interval=3s",
      `--web.listen-address=127.0.0.1:${port}`,
      "--cluster.listen-address=",
      "--log.format=json",
    ],
    readyPath: "/-/ready",
  };
}

/** Which apps need which store. */
function storeNeeds(store: ResourceStore) {
  const needs = new Map<string, { environment: string; kind: string; apps: string[] }>();
  for (const { environment, app, manifest } of servingApps(store))
    for (const kind of needsOf(manifest).map((one) => STORE_KINDS[one].name)) {
      const key = `${environment} ${kind}`;
      const known = needs.get(key) ?? { environment, kind, apps: [] };
      needs.set(key, { ...known, apps: [...known.apps, app].sort() });
    }
  return [...needs].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, need]) => need);
}

const HOST_COLLECTORS = [
  "cpu",
  "meminfo",
  "filesystem",
  "loadavg",
  "netdev",
  "diskstats",
  "timex",
] as const;

const HOST_EXPORTER_PROGRAM: MonitoringProgram = {
  command: "prometheus-node-exporter",
  packages: "prometheus-node-exporter",
  files: () => ({}),
  argv: (_dir, port) => [
    `--web.listen-address=127.0.0.1:${port}`,
    "--log.format=json",
    "--collector.disable-defaults",
    ...HOST_COLLECTORS.map((name) => `--collector.${name}`),
  ],
  readyPath: "/",
};

const DATABASE_EXPORTER_PROGRAM: MonitoringProgram = {
  command: "prometheus-postgres-exporter",
  packages: "prometheus-postgres-exporter",
  files: () => ({}),
  argv: (_dir, port) => [`--web.listen-address=127.0.0.1:${port}`, "--log.format=json"],
  readyPath: "/",
};

const CACHE_EXPORTER_PROGRAM: MonitoringProgram = {
  command: "prometheus-redis-exporter",
  packages: "prometheus-redis-exporter",
  files: () => ({}),
  argv: (_dir, port) => [`-web.listen-address=127.0.0.1:${port}`, "-log-format=json"],
  readyPath: "/health",
};

export type Monitoring = ReturnType<typeof composeMonitoring>;

function metricTargets(store: ResourceStore, world: World): Target[] {
  return servingApps(store).flatMap(({ environment, app, manifest }) =>
    world.edge.servers(`${environment}/${app}`).flatMap(({ service, name, address }) => {
      const metrics = manifest.services[service]?.metrics;
      if (!metrics) return [];
      const release = /\.r(\d+)\./.exec(name)?.[1] ?? "";
      const labels = { environment, app, service, release, instance: name };
      return [{ address: `${address.host}:${address.port}`, path: metrics.path, labels }];
    }),
  );
}

const storeTargets = (store: ResourceStore): StoreTarget[] =>
  ([DATABASE_EXPORTER, CACHE_EXPORTER] as const).flatMap((kind) =>
    store.list(kind).flatMap(({ name, status }) => {
      const job = kind === DATABASE_EXPORTER ? "postgres" : "redis";
      const address = status?.address;
      return address === undefined ? [] : [{ job, environment: name, address } as const];
    }),
  );

const backlogsOf = (store: ResourceStore): Backlog[] =>
  servingApps(store).flatMap(({ environment, app, manifest }) =>
    Object.entries(manifest.workers).flatMap(([service, { backlog }]) =>
      backlog ? [{ environment, app, service, ...backlog }] : [],
    ),
  );

/** One whose headers can't be read keeps what waits, and keeps nothing else from telemetry. */
function readExports(store: ResourceStore, world: World) {
  const exports: ExportTarget[] = [];
  const problems: string[] = [];
  for (const one of store.list(EXPORT)) {
    try {
      exports.push(targetOf(world, one));
    } catch (error) {
      exports.push(openTargetOf(one));
      problems.push(`nothing is sent to the export ${one.name}: ${messageOf(error)}`);
    }
  }
  return { exports, problems };
}

async function platformReport(
  store: ResourceStore,
  world: World,
): Promise<Omit<PlatformReport, "exports">> {
  const instances = store
    .list(APP)
    .flatMap((app) =>
      (app.status?.instances ?? [])
        .filter(({ role }) => role !== "task")
        .map((instance) => usageOf(app, instance, store, world)),
    );
  return {
    instances: await Promise.all(instances),
    engines: [EDGE, DATABASE, CACHE].flatMap((kind) =>
      store.list(kind).map(({ name, status }) => ({
        kind: kind.name,
        name,
        isReady: status?.state === "ready",
      })),
    ),
    certificates: world.edge.certificates(),
    jobs: store.list(APP).flatMap(({ name, status }) => {
      const [environment = "", app = ""] = name.split("/");
      return Object.entries(status?.jobs ?? {}).map(([job, { lastRun, lastEnded }]) => ({
        ...{ environment, app, job },
        isFailed: lastRun?.outcome !== "skipped" && lastEnded === "failed",
        isMissed: lastRun?.outcome === "skipped",
      }));
    }),
  };
}

const PASSING = ["draining", "warm", "stopping", "finished"];

async function usageOf(
  { name: appName, uid, status }: App,
  { name, component, release, state, restarts, memoryKill }: InstanceView,
  store: ResourceStore,
  world: World,
): Promise<InstanceUsage> {
  const [environment = "", app = ""] = appName.split("/");
  const serving = status?.serving?.set.release;
  const made = store.find(RELEASE, releaseName(appName, release));
  const compute = technologyOf(made) === "docker" ? world.dockerCompute : world.processCompute;
  const { services = {}, workers = {} } = made?.spec.manifest ?? {};
  const cpuLimit =
    (services[component] ?? workers[component])?.resources?.cpu ?? availableParallelism();
  return {
    environment,
    app,
    service: component,
    release,
    instance: name,
    ...(await compute.usage(uid, name).catch(() => undefined)),
    cpuLimit,
    restarts,
    isReady: state === "ready",
    isWanted: release === serving && !PASSING.includes(state),
    isLooping: state === "crash-loop",
    ...(memoryKill && { memoryKilledAt: memoryKill.at }),
  };
}

/** The file system that holds the folder: the furthest one up that is on the same device. */
function mountPointOf(path: string): string {
  let at = path;
  // What is not there yet will be on the disk of the folder above it.
  while (!existsSync(at)) at = dirname(at);
  const { dev } = statSync(at);
  while (at !== "/" && statSync(dirname(at)).dev === dev) at = dirname(at);
  return at;
}
