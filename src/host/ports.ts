// The ports of an installation, chosen once and then kept: 80 and 443 for the first one of a
// machine that may have them, free ones for every other.

import type { Config } from "../config.ts";
import { keepJson, readJson } from "../drivers/files.ts";
import { findFreePort, isListening, isPortFree } from "../drivers/process/free-port.ts";
import { invalid } from "../kernel/error.ts";
import type { Home } from "./home.ts";
import { findOwned } from "./own-marks.ts";

export interface InstallationPorts {
  readonly http: number;
  readonly https: number;
  readonly api: number;
  /** Where instances send OpenTelemetry: over HTTP, over gRPC. */
  readonly otlpHttp: number;
  readonly otlpGrpc: number;
  /** Where the edge says what it counted. */
  readonly edgeMetrics: number;
  /** `postgres.production` → port. */
  readonly engines: Readonly<Record<string, number>>;
}

const DOORS = ["http", "https", "api", "otlpHttp", "otlpGrpc", "edgeMetrics"] as const;
type Door = (typeof DOORS)[number];
const INNER_DOORS = ["otlpHttp", "otlpGrpc", "edgeMetrics"] as const;
/** What a person may choose. */
type GivenDoor = "http" | "https" | "api";

const WANTED: Readonly<Record<Door, readonly number[]>> = {
  http: [80, 8080],
  https: [443, 8443],
  api: [7070],
  otlpHttp: [4318],
  otlpGrpc: [4317],
  edgeMetrics: [],
};
const RANGES = {
  http: { first: 8_080, last: 8_299 },
  https: { first: 8_443, last: 8_699 },
  api: { first: 7_070, last: 7_299 },
  otlpHttp: { first: 14_000, last: 14_399 },
  otlpGrpc: { first: 14_400, last: 14_799 },
  edgeMetrics: { first: 14_800, last: 15_199 },
  engine: { first: 15_400, last: 16_399 },
} as const;

export async function ensurePorts(config: Config, home: Home): Promise<InstallationPorts> {
  const known = readJson<Partial<InstallationPorts>>(home.portsFile);
  const ports = { engines: {}, ...known, ...(known && config.ports) } as Record<Door, number> &
    Pick<InstallationPorts, "engines">;
  for (const door of DOORS) ports[door] ??= await choose(door, config, home);
  if (JSON.stringify(ports) !== JSON.stringify(known)) keepJson(home.portsFile, ports);
  return ports;
}

/**
 * Doors that nobody outside the installation knows by number get another one where a program that is
 * not ours listens there by now: before the first start all that nobody chose. What read the ports
 * before has to start again.
 *
 * @returns those that moved
 */
export async function moveTakenDoors(
  config: Config,
  home: Home,
  isFirstStart: boolean,
): Promise<readonly { readonly door: string; readonly from: number; readonly to: number }[]> {
  const ports = readJson<Record<Door, number>>(home.portsFile);
  if (!ports) return [];
  const own = findOwned(home).map(({ pid }) => pid);
  const moved = [];
  for (const door of isFirstStart ? DOORS : INNER_DOORS) {
    const from = ports[door];
    if (from === undefined || config.ports[door as GivenDoor] !== undefined) continue;
    if ((await isPortFree(from, hostOf(door, config))) || isListening(own, from)) continue;
    const to = await findFreePort(new Set([from]), home.root, RANGES[door]);
    ports[door] = to;
    moved.push({ door, from, to });
  }
  if (moved.length > 0) keepJson(home.portsFile, ports);
  return moved;
}

/** The port of an engine of an environment, chosen at the first call. */
export async function enginePort(home: Home, engine: string, environment: string): Promise<number> {
  const ports = readJson<InstallationPorts>(home.portsFile);
  const key = `${engine}.${environment}`;
  const known = ports?.engines[key];
  if (known !== undefined) return known;
  return chooseEnginePort(home, key);
}

/**
 * The port of an engine that does not run and is to be started: another one where a program that is
 * not ours listens there by now. What a process of ours still holds is waited for, never passed by.
 */
export async function portToStart(
  home: Home,
  engine: string,
  environment: string,
): Promise<number> {
  const port = await enginePort(home, engine, environment);
  if (await isPortFree(port)) return port;
  const own = findOwned(home).map(({ pid }) => pid);
  return isListening(own, port) ? port : chooseEnginePort(home, `${engine}.${environment}`);
}

async function chooseEnginePort(home: Home, key: string): Promise<number> {
  const before = readJson<InstallationPorts>(home.portsFile);
  const taken = new Set(Object.values(before?.engines ?? {}));
  const port = await findFreePort(taken, home.root + key, RANGES.engine);
  const now = readJson<InstallationPorts>(home.portsFile) ?? before;
  if (now) keepJson(home.portsFile, { ...now, engines: { ...now.engines, [key]: port } });
  return port;
}

const STORES = ["postgres", "redis"];

/** Of the stores of an environment; without one, of all. */
export function storePorts(home: Home, environment?: string): number[] {
  const { engines = {} } = readJson<InstallationPorts>(home.portsFile) ?? {};
  return Object.entries(engines)
    .filter(([engine]) => {
      const [store = "", place] = engine.split(".");
      return STORES.includes(store) && (environment === undefined || place === environment);
    })
    .map(([, port]) => port);
}

/** Of what watches and counts: these ask nobody who they are. */
export function monitoringPorts(home: Home): number[] {
  const ports = readJson<InstallationPorts>(home.portsFile);
  if (!ports) return [];
  const engines = Object.entries(ports.engines)
    .filter(([engine]) => engine.endsWith(".platform") || engine.includes("-exporter."))
    .map(([, port]) => port);
  return [ports.edgeMetrics, ...engines];
}

const hostOf = (door: Door, { bind }: Config): string =>
  door === "http" || door === "https" ? (bind ?? "0.0.0.0") : "127.0.0.1";

async function choose(door: Door, config: Config, home: Home): Promise<number> {
  const given = config.ports[door as GivenDoor];
  const host = hostOf(door, config);
  if (given !== undefined) {
    if (await isPortFree(given, host)) return given;
    throw invalid("port.in_use", `port ${given} (${door}) is in use`, {
      hint: `end the program that listens there, or choose another: HOLDFAST_${door.toUpperCase()}_PORT=…`,
    });
  }
  if (config.isDefaultHome) {
    for (const port of WANTED[door]) {
      if ((port >= 1024 || config.isRoot) && (await isPortFree(port, host))) return port;
    }
  }
  return findFreePort(new Set(), home.root, RANGES[door]);
}

/** Where an engine of an environment lies: its folder, its log, its port. */
export const enginePlaces = (home: Home, name: string, dirOf: (environment: string) => string) => ({
  dirOf,
  logFileOf: (environment: string) => home.logFile(`engine.${name}.${environment}`),
  portOf: (environment: string) => enginePort(home, name, environment),
  portToStart: (environment: string) => portToStart(home, name, environment),
});

/** How a host is reached from outside. */
export const publicUrl = (host: string, { https }: InstallationPorts): string =>
  `https://${host}${https === 443 ? "" : `:${https}`}`;
