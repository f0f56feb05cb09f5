// The command line process.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { load, loaded } from "../cli/loading.ts";
import { main } from "../cli/main.ts";
import { endQuietly, Output } from "../cli/output.ts";
import { readConfig } from "../config.ts";
import { homeAt } from "../host/home.ts";
import { asHoldfastError } from "../kernel/error.ts";

loaded();
endQuietly();
try {
  const { version } = JSON.parse(
    readFileSync(join(import.meta.dirname, "..", "..", "package.json"), "utf8"),
  ) as { version: string };
  const config = readConfig();
  const { apiSocket } = homeAt(config.home);
  process.exitCode = await main(process.argv.slice(2), {
    client: { socket: apiSocket, url: config.apiUrl, token: config.token },
    lifecycle: async () => {
      const { createLifecycle } = await load(() => import("../host/lifecycle.ts"));
      return createLifecycle(config, version);
    },
    version,
  });
} catch (error) {
  process.exitCode = new Output(process.argv.includes("--json")).problem(asHoldfastError(error));
}
