// The programs that watch, as far as they differ: what each is told in its files and arguments.

import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { readText, writeWhole } from "../files.ts";
import { findSystemUser, giveTo } from "../process/system-user.ts";
import { renderAlertmanager } from "./alertmanager-config.ts";
import type { MonitoringProgram } from "./monitoring-engine-driver.ts";
import { renderPrometheus } from "./prometheus-config.ts";

const RETENTION = { time: "30d", size: "2GB" } as const;

type PrometheusFacts = Omit<Parameters<typeof renderPrometheus>[0], "telemetry" | "mountPoints">;
type AlertmanagerFacts = Omit<Parameters<typeof renderAlertmanager>[0], "tokenFile">;

export interface PrometheusOptions {
  /** Where files with secrets of these programs lie. */
  readonly dir: string;
  /** Of telemetry's metrics. */
  readonly address: string;
  readonly token: string;
  /** Folders whose disks are watched. */
  readonly folders: readonly string[];
  readonly facts: () => PrometheusFacts;
}

/** A secret that the program reads from a file of its own. */
function tokenFile(dir: string, name: string, token: string): string {
  const path = join(dir, `${name}.token`);
  if (readText(path) !== token) {
    writeWhole(path, token, 0o600);
    giveTo(findSystemUser("prometheus"), path);
  }
  return path;
}

export function prometheusProgram(options: PrometheusOptions): MonitoringProgram {
  const { dir: own, address, token, folders, facts } = options;
  const mountPoints = new Set(folders.map(mountPointOf));
  return {
    command: "prometheus",
    packages: "prometheus",
    files: () =>
      renderPrometheus({
        ...facts(),
        telemetry: { address, tokenFile: tokenFile(own, "scrape", token) },
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

export interface AlertmanagerOptions {
  readonly dir: string;
  readonly token: string;
  readonly facts: () => AlertmanagerFacts;
}

export function alertmanagerProgram({
  dir: own,
  token,
  facts,
}: AlertmanagerOptions): MonitoringProgram {
  return {
    command: "prometheus-alertmanager",
    packages: "prometheus-alertmanager",
    files: () => renderAlertmanager({ ...facts(), tokenFile: tokenFile(own, "deliver", token) }),
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

const HOST_COLLECTORS = [
  "cpu",
  "meminfo",
  "filesystem",
  "loadavg",
  "netdev",
  "diskstats",
  "timex",
] as const;

export const HOST_EXPORTER_PROGRAM: MonitoringProgram = {
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

export const DATABASE_EXPORTER_PROGRAM: MonitoringProgram = {
  command: "prometheus-postgres-exporter",
  packages: "prometheus-postgres-exporter",
  files: () => ({}),
  argv: (_dir, port) => [`--web.listen-address=127.0.0.1:${port}`, "--log.format=json"],
  readyPath: "/",
};

export const CACHE_EXPORTER_PROGRAM: MonitoringProgram = {
  command: "prometheus-redis-exporter",
  packages: "prometheus-redis-exporter",
  files: () => ({}),
  argv: (_dir, port) => [`-web.listen-address=127.0.0.1:${port}`, "-log-format=json"],
  readyPath: "/health",
};

/** The file system that holds the folder: the furthest one up that is on the same device. */
function mountPointOf(path: string): string {
  let at = path;
  // What is not there yet will be on the disk of the folder above it.
  while (!existsSync(at)) at = dirname(at);
  const { dev } = statSync(at);
  while (at !== "/" && statSync(dirname(at)).dev === dev) at = dirname(at);
  return at;
}
