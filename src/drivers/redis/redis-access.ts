// One app's part of the environment's Redis: a user that sees only keys and channels under its
// prefix, and none of the commands that reach beyond them.

import { Redacted } from "../../kernel/redacted.ts";
import { passwordHash, type RedisEngineDriver } from "./redis-engine-driver.ts";

export interface RedisAccessOptions {
  readonly engine: RedisEngineDriver;
  readonly portOf: (environment: string) => Promise<number>;
  readonly password: (appName: string) => Redacted;
}

/** What shows or changes things of other apps, whatever keys a user may touch. */
const BEYOND_KEYS = ["scan", "randomkey", "dbsize", "function", "script"];
const DELETE_BATCH = 500;

export class RedisAccess {
  readonly #options: RedisAccessOptions;
  readonly #ensured = new Set<string>();

  constructor(options: RedisAccessOptions) {
    this.#options = options;
  }

  async ensure(
    appName: string,
    host: string,
  ): Promise<Readonly<Record<string, string | Redacted>>> {
    const { environment, user, prefix } = namesOf(appName);
    const password = this.#options.password(appName);
    if (!this.#ensured.has(appName)) {
      const rights = [
        "resetkeys",
        `~${prefix}*`,
        "resetchannels",
        `&${prefix}*`,
        "+@all",
        "-@admin",
        "-@dangerous",
        "+info",
        ...BEYOND_KEYS.map((command) => `-${command}`),
      ];
      await this.#options.engine.asAdmin(environment, async (client) => {
        await client.sendCommand([
          "ACL",
          "SETUSER",
          user,
          "reset",
          "on",
          `#${passwordHash(password)}`,
          ...rights,
        ]);
        await client.sendCommand(["ACL", "SAVE"]);
      });
      this.#ensured.add(appName);
    }
    const port = await this.#options.portOf(environment);
    return {
      REDIS_URL: new Redacted(`redis://${user}:${password.reveal()}@${host}:${port}`),
      REDIS_KEY_PREFIX: prefix,
    };
  }

  port(environment: string): Promise<number> {
    return this.#options.portOf(environment);
  }

  async has(appName: string): Promise<boolean> {
    const { environment, user } = namesOf(appName);
    return this.#options.engine.asAdmin(environment, async (client) => {
      const users = (await client.sendCommand(["ACL", "USERS"])) as unknown as string[];
      return users.includes(user);
    });
  }

  async drop(appName: string): Promise<void> {
    const { environment, user, prefix } = namesOf(appName);
    this.#ensured.delete(appName);
    await this.#options.engine.asAdmin(environment, async (client) => {
      for await (const keys of client.scanIterator({ MATCH: `${prefix}*`, COUNT: DELETE_BATCH })) {
        if (keys.length > 0) await client.unlink(keys);
      }
      await client.sendCommand(["ACL", "DELUSER", user]);
      await client.sendCommand(["ACL", "SAVE"]);
    });
  }
}

// The prefix keeps an app's user from being our own, or Redis's `default`.
function namesOf(appName: string) {
  const [environment = "", app = ""] = appName.split("/");
  return { environment, user: `app-${app}`, prefix: `${app}:` };
}
