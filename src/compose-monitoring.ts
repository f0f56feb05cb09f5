// What watches, put together: the programs as engines, what they are to watch from the apps that
// there are, and the report that telemetry gets of the control plane's view. Part of the
// composition root.

import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { World, WorldOptions } from "./compose-world.ts";
import { ensureKeyFile } from "./drivers/files.ts";
import {
  MonitoringEngineDriver,
  type MonitoringProgram,
} from "./drivers/prometheus/monitoring-engine-driver.ts";
import {
  alertmanagerProgram,
  CACHE_EXPORTER_PROGRAM,
  DATABASE_EXPORTER_PROGRAM,
  HOST_EXPORTER_PROGRAM,
  prometheusProgram,
} from "./drivers/prometheus/monitoring-programs.ts";
import { PrometheusClient } from "./drivers/prometheus/prometheus-client.ts";
import { toldMemory } from "./drivers/prometheus/told-memory.ts";
import { enginePlaces, enginePort, portToStart } from "./host/ports.ts";
import { systemClock } from "./kernel/clock.ts";
import type { ResourceStore } from "./kernel/resource-store.ts";
import { PLATFORM } from "./kernel/signal.ts";
import { startReporting } from "./operations/platform-report.ts";
import {
  backlogsOf,
  metricTargets,
  servingObjectives,
  storeNeeds,
  storeTargets,
} from "./operations/serving.ts";
import { ruleGroups } from "./resources/app/alert-rules.ts";
import type { ComputeTechnology } from "./resources/app/app-driver.ts";
import { CHANNEL } from "./resources/channel/channel.ts";
import {
  ALERTING,
  CACHE_EXPORTER,
  DATABASE_EXPORTER,
  HOST_EXPORTER,
  METRICS,
} from "./resources/engine/engine.ts";
import type { TelemetryReader } from "./resources/telemetry/telemetry-driver.ts";
import { deliverToken, scrapeToken } from "./telemetry/otlp/sender.ts";

type ProgramName = "prometheus" | "alertmanager" | "node-exporter";

// Files are rendered without waiting: a port that is not known yet is one that is not told yet.
function watchers(
  { home, ports }: WorldOptions,
  store: ResourceStore,
  world: World,
  { key, known }: { readonly key: Buffer; readonly known: Partial<Record<ProgramName, number>> },
) {
  const local = (at: number | undefined): string => `127.0.0.1:${at}`;
  const dir = home.monitoringDir;
  const prometheus = prometheusProgram({
    dir,
    address: local(ports.otlpHttp),
    token: scrapeToken(key),
    folders: [home.root, home.telemetryDir, dir, home.environmentDir("production")],
    facts: () => ({
      edge: local(ports.edgeMetrics),
      stores: storeTargets(store),
      hostExporter: local(known["node-exporter"]),
      alertmanager: local(known.alertmanager),
      apps: metricTargets(store, world.edge),
      groups: ruleGroups(servingObjectives(store), backlogsOf(store)),
    }),
  });
  const alertmanager = alertmanagerProgram({
    dir,
    token: deliverToken(key),
    facts: () => ({
      channels: store.list(CHANNEL).map(({ name, spec: { severities } }) => ({ name, severities })),
      stores: storeNeeds(store),
      deliverUrl: `http://${local(ports.api)}/v1/channels`,
    }),
  });
  return { prometheus, alertmanager };
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
  const { prometheus, alertmanager } = watchers(options, store, world, { key, known });
  const around = { clock: systemClock, closePort: () => world.processCompute.keepApart() };
  const engine = (name: ProgramName, program: MonitoringProgram) =>
    new MonitoringEngineDriver({
      ...around,
      program,
      ...enginePlaces(home, name, () => join(home.monitoringDir, name)),
      logFileOf: () => home.logFile(`engine.${name}`),
      // What one of them is told of the others is complete from the beginning.
      portOf: async () => {
        for (const other of PROGRAMS) await port(other);
        return port(name);
      },
      portToStart: async () => {
        known[name] = await portToStart(home, name, PLATFORM);
        return known[name];
      },
    });
  const exporter = (name: string, program: MonitoringProgram) =>
    new MonitoringEngineDriver({
      ...around,
      program,
      ...enginePlaces(home, name, (environment) =>
        join(home.monitoringDir, `${name}.${environment}`),
      ),
    });
  return {
    engines: [
      [METRICS, engine("prometheus", prometheus)],
      [ALERTING, engine("alertmanager", alertmanager)],
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
      startReporting({ ...reported(store, world), telemetry, onProblem }),
  };
}

const PROGRAMS: readonly ProgramName[] = ["prometheus", "alertmanager", "node-exporter"];

const reported = (store: ResourceStore, world: World) => ({
  clock: systemClock,
  store,
  sealed: world.sealed,
  compute: (of: ComputeTechnology) =>
    of === "docker" ? world.dockerCompute : world.processCompute,
  certificates: () => world.edge.certificates(),
  cores: availableParallelism(),
});

export type Monitoring = ReturnType<typeof composeMonitoring>;
