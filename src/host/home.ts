// Where everything of an installation lies. One folder holds all state; several installations are
// several folders.

import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { invalid } from "../kernel/error.ts";

export interface Home {
  readonly root: string;
  readonly database: string;
  /** What was put back in the place of the state, until it is in the audit. */
  readonly restoreNote: string;
  readonly secretKey: string;
  readonly adminToken: string;
  /** Signs the tokens with which instances send telemetry. */
  readonly telemetryKey: string;
  readonly portsFile: string;
  readonly appUsers: string;
  readonly apiSocket: string;
  readonly telemetrySocket: string;
  readonly requestSocket: string;
  /** Requests to the API that come in by the edge. */
  readonly edgeApiSocket: string;
  /** Repositories: those that are pushed to here, and copies of those elsewhere. */
  readonly gitDir: string;
  /** Reports of browsers come in here. */
  readonly usageSocket: string;
  readonly runDir: string;
  readonly edgeDir: string;
  readonly caDir: string;
  readonly certificatesDir: string;
  readonly instancesDir: string;
  readonly buildDir: string;
  readonly sourcesDir: string;
  readonly logSourcesDir: string;
  readonly telemetryDir: string;
  readonly telemetryPolicies: string;
  /** Prometheus, Alertmanager and the exporters. */
  readonly monitoringDir: string;
  readonly runtimeDir: string;
  readonly environmentDir: (environment: string) => string;
  /** File to which a program of ours writes its output. */
  readonly logFile: (name: string) => string;
}

/** A variable of telemetry: the file descriptor of the socket that is held for it (hold-socket.pl). */
export const REQUEST_SOCKET_FD = "HOLDFAST_REQUEST_FD";

/** A Unix socket's path has room for 107 characters. */
const SOCKET_PATH_MAX = 100;

export function homeAt(root: string): Home {
  const at = (...parts: string[]): string => join(root, ...parts);
  const home: Home = {
    root,
    database: at("state", "holdfast.db"),
    restoreNote: at("state", "restored.json"),
    secretKey: at("state", "secret.key"),
    adminToken: at("state", "admin.token"),
    telemetryKey: at("state", "telemetry.key"),
    portsFile: at("state", "ports.json"),
    appUsers: at("state", "app-users.json"),
    apiSocket: at("run", "api.sock"),
    telemetrySocket: at("run", "telemetry.sock"),
    requestSocket: at("edge", "requests.sock"),
    edgeApiSocket: at("edge", "api.sock"),
    gitDir: at("git"),
    usageSocket: at("edge", "usage.sock"),
    runDir: at("run"),
    edgeDir: at("edge"),
    caDir: at("ca"),
    certificatesDir: at("certificates"),
    instancesDir: at("instances"),
    buildDir: at("build"),
    sourcesDir: at("sources"),
    logSourcesDir: at("logs", "sources"),
    telemetryDir: at("telemetry"),
    telemetryPolicies: at("telemetry", "policies.json"),
    monitoringDir: at("monitoring"),
    runtimeDir: at("runtime"),
    environmentDir: (environment) => at("environments", environment),
    logFile: (name) => at("logs", "sources", `${name}.log`),
  };
  if (home.telemetrySocket.length > SOCKET_PATH_MAX) {
    throw invalid(
      "home.path_too_long",
      `HOLDFAST_HOME is too long for the sockets in it: ${root}`,
      {
        hint: "choose a folder whose path has less than 80 characters",
      },
    );
  }
  return home;
}

/** The folders, with rights: apps' users may pass through, and look at nothing. */
export function ensureHome(home: Home): void {
  mkdirSync(home.root, { recursive: true, mode: 0o711 });
  for (const dir of [
    home.edgeDir,
    home.caDir,
    home.instancesDir,
    home.buildDir,
    home.runtimeDir,
    home.monitoringDir,
    dirname(home.environmentDir("x")),
  ]) {
    mkdirSync(dir, { recursive: true, mode: 0o711 });
  }
  for (const dir of [
    dirname(home.database),
    home.runDir,
    home.certificatesDir,
    home.logSourcesDir,
    home.telemetryDir,
    home.gitDir,
  ]) {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  }
}
