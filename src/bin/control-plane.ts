// The control plane process.

import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { composeControlPlane } from "../compose.ts";
import { readConfig } from "../config.ts";
import { writeJson } from "../drivers/files.ts";
import { ensureHome, homeAt } from "../host/home.ts";
import { type ControlPlaneRecord, takeOverSocket } from "../host/own-processes.ts";
import { ensurePorts } from "../host/ports.ts";
import { writeProcessLog } from "../host/process-log.ts";
import { ensureRuntime } from "../host/runtime.ts";
import { asHoldfastError, messageOf } from "../kernel/error.ts";

const checkout = join(import.meta.dirname, "..", "..");
const { version } = JSON.parse(readFileSync(join(checkout, "package.json"), "utf8")) as {
  version: string;
};
/** Not when another process imports it only to have it compiled. */
if (import.meta.main) await main();

async function main(): Promise<void> {
  const config = readConfig();
  // Known here now; nothing that we start has any business with it.
  delete process.env["HOLDFAST_SECRET_KEY"];
  const home = homeAt(config.home);
  const failureFile = join(home.runDir, "control-plane-failure.json");

  try {
    ensureHome(home);
    await takeOverSocket(home.apiSocket);
    const ports = await ensurePorts(config, home);
    const runtime = ensureRuntime(home, checkout);
    const plane = await composeControlPlane({
      config,
      home,
      ports,
      runtime,
      version,
      log: writeProcessLog,
    });
    await plane.start();
    rmSync(failureFile, { force: true });
    writeJson(join(home.runDir, "control-plane.json"), {
      ...{ pid: process.pid, checkout, version },
      ...(config.apiHost !== undefined && { apiHost: config.apiHost }),
      trustedProxies: config.trustedProxies,
    } satisfies ControlPlaneRecord);
    writeProcessLog("info", "the control plane is ready", { pid: process.pid, api: ports.api });
    const stop = (): void => {
      void plane.stop().finally(() => process.exit(0));
    };
    process.once("SIGTERM", stop);
    process.once("SIGINT", stop);
  } catch (error) {
    const known = asHoldfastError(error);
    // `holdfast up` reads this and tells the person; nobody else could.
    const { code, hint } = known;
    try {
      writeJson(failureFile, { code, hint, message: messageOf(known) });
    } catch {
      // A full disk: the log below still says it.
    }
    writeProcessLog("error", "the control plane can't start", {
      code: known.code,
      error: messageOf(known),
    });
    process.exit(1);
  }
}
