import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "../config.ts";
import { readText } from "../drivers/files.ts";
import type { EdgeLayout } from "../drivers/haproxy/haproxy-config.ts";
import { runbookNames } from "../drivers/runbooks.ts";
import type { Home } from "./home.ts";
import type { InstallationPorts } from "./ports.ts";

const MAX_CONNECTIONS = 20_000;
/** Below the room of one instance (limits.perInstance), so that one address never fills it. */
const CLIENT_CONNECTIONS = 200;
/** HAProxy needs two descriptors per connection, some for pipes between them, and some of its own. */
const FILES_PER_CONNECTION = 3;
const FILES_RESERVE = 500;

/** Where the edge of this installation listens, and what it may use. */
export function edgeLayout(config: Config, home: Home, ports: InstallationPorts): EdgeLayout {
  const binds = (port: number): string[] =>
    config.bind === undefined ? everywhere(port) : [`${config.bind}:${port}`];
  return {
    httpBinds: binds(ports.http),
    httpsBinds: binds(ports.https),
    httpsPort: ports.https,
    dir: home.edgeDir,
    adminSocket: join(home.runDir, "edge-admin.sock"),
    requestSocket: home.requestSocket,
    usageSocket: home.usageSocket,
    runbooks: runbookNames(),
    api:
      config.apiHost === undefined
        ? undefined
        : { host: config.apiHost, socket: home.edgeApiSocket },
    metricsBind: `127.0.0.1:${ports.edgeMetrics}`,
    maxConnections: Math.min(MAX_CONNECTIONS, allowedConnections()),
    clientConnections: CLIENT_CONNECTIONS,
    trustedProxies: config.trustedProxies,
    user: config.isRoot ? "haproxy" : undefined,
    threads: undefined,
    telemetry: true,
  };
}

function everywhere(port: number): string[] {
  return existsSync("/proc/net/if_inet6") ? [`*:${port}`, `:::${port} v6only`] : [`*:${port}`];
}

function allowedConnections(): number {
  const line = (readText("/proc/self/limits") ?? "")
    .split("\n")
    .find((one) => one.startsWith("Max open files"));
  const hard = Number(/(\d+)\s+files/.exec(line ?? "")?.[1] ?? 1_000_000);
  return Math.max(100, Math.floor((hard - FILES_RESERVE) / FILES_PER_CONNECTION));
}
