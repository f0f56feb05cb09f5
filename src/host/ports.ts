// The ports of an installation, chosen once and then kept: 80 and 443 for the first one of a
// machine that may have them, free ones for every other.

import type { Config } from "../config.ts";
import { keepJson, readJson } from "../drivers/files.ts";
import { findFreePort, isPortFree } from "../drivers/process/free-port.ts";
import { invalid } from "../kernel/error.ts";
import type { Home } from "./home.ts";

export interface InstallationPorts {
  readonly http: number;
  readonly https: number;
  readonly api: number;
  /** `postgres.production` → port. */
  readonly engines: Readonly<Record<string, number>>;
}

const WANTED = { http: [80, 8080], https: [443, 8443], api: [7070] } as const;
const RANGES = {
  http: { first: 8_080, last: 8_299 },
  https: { first: 8_443, last: 8_699 },
  api: { first: 7_070, last: 7_299 },
  engine: { first: 15_400, last: 16_399 },
} as const;

export async function ensurePorts(config: Config, home: Home): Promise<InstallationPorts> {
  const known = readJson<InstallationPorts>(home.portsFile);
  if (known) return withGiven(known, config, home);
  const ports = {
    http: await choose("http", config, home),
    https: await choose("https", config, home),
    api: await choose("api", config, home),
    engines: {},
  };
  keepJson(home.portsFile, ports);
  return ports;
}

function withGiven(known: InstallationPorts, config: Config, home: Home): InstallationPorts {
  const ports = { ...known, ...config.ports };
  if (JSON.stringify(ports) !== JSON.stringify(known)) keepJson(home.portsFile, ports);
  return ports;
}

/** The port of an engine of an environment, chosen at the first call. */
export async function enginePort(home: Home, engine: string, environment: string): Promise<number> {
  const ports = readJson<InstallationPorts>(home.portsFile);
  const key = `${engine}.${environment}`;
  const known = ports?.engines[key];
  if (known !== undefined) return known;
  const taken = new Set(Object.values(ports?.engines ?? {}));
  const port = await findFreePort(taken, home.root + key, RANGES.engine);
  const now = readJson<InstallationPorts>(home.portsFile) ?? ports;
  if (now) keepJson(home.portsFile, { ...now, engines: { ...now.engines, [key]: port } });
  return port;
}

async function choose(what: "http" | "https" | "api", config: Config, home: Home): Promise<number> {
  const given = config.ports[what];
  const host = what === "api" ? "127.0.0.1" : (config.bind ?? "0.0.0.0");
  if (given !== undefined) {
    if (await isPortFree(given, host)) return given;
    throw invalid("port.in_use", `port ${given} (${what}) is in use`, {
      hint: `end the program that listens there, or choose another: HOLDFAST_${what.toUpperCase()}_PORT=…`,
    });
  }
  if (config.isDefaultHome) {
    for (const port of WANTED[what]) {
      if ((port >= 1024 || config.isRoot) && (await isPortFree(port, host))) return port;
    }
  }
  return findFreePort(new Set(), home.root, RANGES[what]);
}
