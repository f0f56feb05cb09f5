// The stores of an environment, as one app sees them: which it needs, whether they are ready, and
// the variables that lead to them.

import type { Redacted } from "../kernel/redacted.ts";
import type { ResourceStore } from "../kernel/resource-store.ts";
import type {
  AppStores,
  CopyState,
  StoreRole,
  StoresReadiness,
} from "../resources/app/app-driver.ts";
import { type Manifest, needsOf } from "../resources/app/manifest.ts";
import { STORE_KINDS } from "../resources/engine/engine.ts";
import type { Schema } from "./postgres/migrations/schema.ts";
import type { PostgresAccess } from "./postgres/postgres-access.ts";
import type { RedisAccess } from "./redis/redis-access.ts";

const DEFAULT_CONNECTIONS = 40;

export class EnvironmentStores implements AppStores {
  readonly #store: ResourceStore;
  readonly #postgres: PostgresAccess;
  readonly #redis: RedisAccess;

  constructor(store: ResourceStore, postgres: PostgresAccess, redis: RedisAccess) {
    this.#store = store;
    this.#postgres = postgres;
    this.#redis = redis;
  }

  async readiness(appName: string, manifest: Manifest): Promise<StoresReadiness> {
    const environment = appName.split("/")[0] ?? "";
    let startedAt = 0;
    for (const store of needsOf(manifest)) {
      const status = this.#store.find(STORE_KINDS[store], environment)?.status;
      if (status?.state === "ready") {
        startedAt = Math.max(startedAt, status.startedAt ?? 0);
        continue;
      }
      const reason =
        status?.pass?.reason ?? `${store} of ${environment} is ${status?.state ?? "not there"}`;
      return { ready: false, reason, hint: status?.pass?.hint ?? "holdfast status" };
    }
    return { ready: true, startedAt };
  }

  async ensureAccess(
    appName: string,
    manifest: Manifest,
    as: StoreRole,
    host: string,
  ): Promise<Readonly<Record<string, string | Redacted>>> {
    const needs = needsOf(manifest);
    return {
      ...(needs.includes("postgres") &&
        (await this.#postgres.ensure(appName, as, host, connectionsOf(manifest)))),
      ...(needs.includes("redis") && (await this.#redis.ensure(appName, host))),
    };
  }

  /** What the app's database has; undefined where nobody can say. */
  schema(appName: string): Promise<Schema | undefined> {
    return this.#postgres.schema(appName).catch(() => undefined);
  }

  async ports(appName: string, manifest: Manifest): Promise<readonly number[]> {
    const environment = appName.split("/")[0] ?? "";
    const stores = { postgres: this.#postgres, redis: this.#redis };
    return Promise.all(needsOf(manifest).map((store) => stores[store].port(environment)));
  }

  async makeCopy(appName: string, label: string): Promise<void> {
    this.#postgres.makeCopy(appName, label);
  }

  copyState(appName: string): Promise<CopyState> {
    return this.#postgres.copyState(appName);
  }

  takenInCopy(appName: string): Promise<readonly string[]> {
    return this.#postgres.takenInCopy(appName);
  }

  dropCopy(appName: string): Promise<void> {
    return this.#postgres.dropCopy(appName);
  }

  async hasData(appName: string): Promise<boolean> {
    return (await this.#postgres.has(appName)) || (await this.#redis.has(appName));
  }

  async dropData(appName: string): Promise<void> {
    await this.#postgres.drop(appName);
    await this.#redis.drop(appName);
  }
}

/** Releases of an earlier build, and `postgres:` with nothing behind it, do not say. */
const connectionsOf = ({ stores }: Manifest): number =>
  stores.postgres?.connections ?? DEFAULT_CONNECTIONS;
