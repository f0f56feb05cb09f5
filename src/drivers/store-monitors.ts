// What the exporters of an environment's stores connect with, as their variables.

import type { Redacted } from "../kernel/redacted.ts";
import type { EngineDriver } from "../resources/engine/engine-driver.ts";
import type { PostgresEngineDriver } from "./postgres/postgres-engine-driver.ts";
import { ensurePostgresMonitor } from "./postgres/postgres-monitor.ts";
import type { RedisEngineDriver } from "./redis/redis-engine-driver.ts";
import { ensureRedisMonitor, REDIS_MONITOR } from "./redis/redis-monitor.ts";

const LOOK_MS = 5_000;

export interface StoreMonitorOptions {
  readonly portOf: (store: "postgres" | "redis", environment: string) => Promise<number>;
  readonly password: (store: "postgres" | "redis", environment: string) => Redacted;
  readonly postgres: PostgresEngineDriver;
  readonly redis: RedisEngineDriver;
}

export function storeMonitors({ portOf, password, postgres, redis }: StoreMonitorOptions) {
  const awaits = (what: string, driver: EngineDriver) => async (environment: string) => {
    const { process } = await driver.observe(environment, AbortSignal.timeout(LOOK_MS));
    return process === "ready" ? undefined : `${what} ${environment}`;
  };
  return {
    postgres: {
      awaits: awaits("database", postgres),
      variables: async (environment: string) => {
        const port = await portOf("postgres", environment);
        const secret = password("postgres", environment);
        return {
          DATA_SOURCE_NAME: await ensurePostgresMonitor(postgres, environment, port, secret),
        };
      },
    },
    redis: {
      awaits: awaits("cache", redis),
      variables: async (environment: string) => {
        const secret = password("redis", environment);
        await ensureRedisMonitor(redis, environment, secret);
        return {
          REDIS_ADDR: `redis://127.0.0.1:${await portOf("redis", environment)}`,
          REDIS_USER: REDIS_MONITOR,
          REDIS_PASSWORD: secret.reveal(),
        };
      },
    },
  };
}
