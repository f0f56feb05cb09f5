// The command line process.

import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { main } from "../cli/main.ts";
import { endQuietly, Output } from "../cli/output.ts";
import { readConfig } from "../config.ts";
import { homeAt } from "../host/home.ts";
import { createLifecycle } from "../host/lifecycle.ts";
import { asHoldfastError } from "../kernel/error.ts";

// All of it is loaded; see the script that begins us.
const loading = process.env["HOLDFAST_LOADING"];
delete process.env["HOLDFAST_LOADING"];
if (loading !== undefined) rmSync(loading, { force: true });

endQuietly();
try {
  const { version } = JSON.parse(
    readFileSync(join(import.meta.dirname, "..", "..", "package.json"), "utf8"),
  ) as { version: string };
  const config = readConfig();
  const { apiSocket } = homeAt(config.home);
  process.exitCode = await main(process.argv.slice(2), {
    client: { socket: apiSocket, url: config.apiUrl, token: config.token },
    lifecycle: createLifecycle(config, version),
    version,
  });
} catch (error) {
  process.exitCode = new Output(process.argv.includes("--json")).problem(asHoldfastError(error));
}
