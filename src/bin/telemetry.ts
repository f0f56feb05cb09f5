// The telemetry process.

import { readConfig } from "../config.ts";
import { run } from "../drivers/exec.ts";
import { findSystemUser } from "../drivers/process/system-user.ts";
import { ensureHome, homeAt } from "../host/home.ts";
import { writeProcessLog } from "../host/process-log.ts";
import { LogCollector } from "../telemetry/log-collector.ts";
import { LogStore } from "../telemetry/log-store.ts";
import { RequestLog } from "../telemetry/request-log.ts";
import { startTelemetryServer } from "../telemetry/telemetry-server.ts";
import { TrafficQuery } from "../telemetry/traffic-query.ts";

/** Not when another process imports it only to have it compiled. */
if (import.meta.main) await main();

async function main(): Promise<void> {
  const config = readConfig();
  delete process.env["HOLDFAST_SECRET_KEY"];
  const home = homeAt(config.home);
  ensureHome(home);
  const now = (): number => Date.now();
  const logs = new LogStore(home.logStoreDir, now);
  const requests = new RequestLog({
    dir: home.requestsDir,
    socket: home.requestSocket,
    edgeUid: config.isRoot ? findSystemUser("haproxy")?.uid : undefined,
    now,
    onMessage: (text) =>
      logs.append([
        {
          time: now(),
          app: "engine/edge",
          service: "edge",
          release: 0,
          instance: "edge",
          text,
          source: "ring",
          offset: 0,
        },
      ]),
  });
  const collector = new LogCollector({
    dir: home.logSourcesDir,
    store: logs,
    now,
    punchHole: async (path, bytes) => {
      await run([
        "fallocate",
        "--punch-hole",
        "--keep-size",
        "--offset",
        "0",
        "--length",
        String(bytes),
        path,
      ]);
    },
  });
  await requests.listen();
  collector.start();
  await startTelemetryServer({
    socket: home.telemetrySocket,
    requests,
    logs,
    traffic: new TrafficQuery(),
    now,
  });
  writeProcessLog("info", "telemetry is ready", { pid: process.pid });
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      requests.close();
      process.exit(0);
    });
  }
}
