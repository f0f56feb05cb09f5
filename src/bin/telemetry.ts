// The telemetry process.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { readConfig } from "../config.ts";
import { run } from "../drivers/exec.ts";
import { ensureKeyFile } from "../drivers/files.ts";
import { findSystemUser } from "../drivers/process/system-user.ts";
import { ensureHome, homeAt, REQUEST_SOCKET_FD } from "../host/home.ts";
import { ensurePorts } from "../host/ports.ts";
import { writeProcessLog } from "../host/process-log.ts";
import { messageOf } from "../kernel/error.ts";
import { startTelemetry } from "../telemetry/telemetry.ts";

/** Not when another process imports it only to have it compiled. */
if (import.meta.main) await main();

async function main(): Promise<void> {
  const config = readConfig();
  delete process.env["HOLDFAST_SECRET_KEY"];
  const heldSocket = process.env[REQUEST_SOCKET_FD];
  const home = homeAt(config.home);
  ensureHome(home);
  const ports = await ensurePorts(config, home);
  const telemetry = await startTelemetry({
    key: ensureKeyFile(home.telemetryKey),
    otlp: { host: "127.0.0.1", httpPort: ports.otlpHttp, grpcPort: ports.otlpGrpc },
    dir: home.telemetryDir,
    policyFile: home.telemetryPolicies,
    logSourcesDir: home.logSourcesDir,
    socket: home.telemetrySocket,
    requestSocket: heldSocket === undefined ? home.requestSocket : { fd: Number(heldSocket) },
    usageSocket: home.usageSocket,
    edgeUid: config.isRoot ? findSystemUser("haproxy")?.uid : undefined,
    now: () => Date.now(),
    isSource: (file) => existsSync(join(home.logSourcesDir, file)),
    onProblem: (what, error) => writeProcessLog("error", what, { error: messageOf(error) }),
    onDead: (why) => {
      writeProcessLog("error", "telemetry starts anew", { error: why });
      process.exit(1);
    },
    punchHole: async (path, bytes) => {
      const range = ["--offset", "0", "--length", String(bytes)];
      await run(["fallocate", "--punch-hole", "--keep-size", ...range, path]);
    },
  });
  writeProcessLog("info", "telemetry is ready", { pid: process.pid });
  for (const signal of ["SIGTERM", "SIGINT"] as const)
    process.once(signal, () => void telemetry.close().finally(() => process.exit(0)));
}
