// What counts an environment's Redis looks at it as a user of its own: statistics, no keys.

import type { Redacted } from "../../kernel/redacted.ts";
import { passwordHash, type RedisEngineDriver } from "./redis-engine-driver.ts";

export const REDIS_MONITOR = "holdfast-monitor";
/** Not the slow log: it shows commands with their values. */
const RIGHTS = ["-@all", "+ping", "+info", "+config|get", "+client|setname"];

/** Makes sure of the user, whose rights are what statistics need. */
export async function ensureRedisMonitor(
  engine: RedisEngineDriver,
  environment: string,
  password: Redacted,
): Promise<void> {
  await engine.asAdmin(environment, async (client) => {
    const hash = `#${passwordHash(password)}`;
    const user = ["ACL", "SETUSER", REDIS_MONITOR, "reset", "on", hash, ...RIGHTS];
    await client.sendCommand(user);
    await client.sendCommand(["ACL", "SAVE"]);
  });
}
