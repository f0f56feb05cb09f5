// One app's part of the environment's cluster: a database, an owner who may change its schema, and
// a runtime role that may only read and write rows. All statements may be repeated.

import type pg from "pg";
import { Redacted } from "../../kernel/redacted.ts";
import type { CopyState, StoreRole } from "../../resources/app/app-driver.ts";
import type { Schema } from "./migrations/schema.ts";
import { readSchema } from "./migrations/schema-reader.ts";
import type { PostgresEngineDriver } from "./postgres-engine-driver.ts";
import { grantRows } from "./row-grants.ts";
import { SchemaCopies } from "./schema-copy.ts";
import { literal, quote } from "./sql-text.ts";

export interface PostgresAccessOptions {
  readonly engine: PostgresEngineDriver;
  readonly portOf: (environment: string) => Promise<number>;
  readonly password: (appName: string, role: StoreRole) => Redacted;
}

export class PostgresAccess {
  readonly #options: PostgresAccessOptions;
  /** Apps whose database this control plane has already ensured, with their limit of connections. */
  readonly #ensured = new Map<string, number>();

  /** Copies of databases, for rehearsals. */
  readonly #copies: SchemaCopies;

  constructor(options: PostgresAccessOptions) {
    this.#options = options;
    this.#copies = new SchemaCopies(options.engine);
  }

  async ensure(
    appName: string,
    as: StoreRole,
    host: string,
    connections: number,
  ): Promise<Readonly<Record<string, string | Redacted>>> {
    const { environment, names } = namesOf(appName);
    if (this.#ensured.get(appName) !== connections) {
      await this.#ensureDatabase(appName, connections);
      this.#ensured.set(appName, connections);
    }
    const password = this.#options.password(appName, as);
    const user = as === "rehearsal" ? names.copy : names[as];
    const database = as === "rehearsal" ? names.copy : names.database;
    const port = String(await this.#options.portOf(environment));
    return {
      DATABASE_URL: new Redacted(
        `postgres://${user}:${password.reveal()}@${host}:${port}/${database}?sslmode=disable`,
      ),
      PGHOST: host,
      PGPORT: port,
      PGUSER: user,
      PGPASSWORD: password,
      PGDATABASE: database,
    };
  }

  port(environment: string): Promise<number> {
    return this.#options.portOf(environment);
  }

  async has(appName: string): Promise<boolean> {
    const { environment, names } = namesOf(appName);
    return this.#options.engine.asAdmin(environment, "postgres", async (client) => {
      const { rowCount } = await client.query("SELECT 1 FROM pg_database WHERE datname = $1", [
        names.database,
      ]);
      return rowCount === 1;
    });
  }

  /** @throws what PostgreSQL says, also where there is no such database */
  schema(appName: string): Promise<Schema> {
    const { environment, names } = namesOf(appName);
    return this.#options.engine.asAdmin(environment, names.database, (client) =>
      readSchema(client, names.runtime),
    );
  }

  makeCopy(appName: string, label: string): void {
    const { environment, names } = namesOf(appName);
    const password = this.#options.password(appName, "owner");
    const copyPassword = this.#options.password(appName, "rehearsal");
    this.#copies.make({ environment, ...names, password, copyPassword }, label);
  }

  copyState(appName: string): Promise<CopyState> {
    const { environment, names } = namesOf(appName);
    return this.#copies.state({ environment, ...names });
  }

  takenInCopy(appName: string): Promise<readonly string[]> {
    const { environment, names } = namesOf(appName);
    return this.#copies.taken({ environment, ...names });
  }

  dropCopy(appName: string): Promise<void> {
    const { environment, names } = namesOf(appName);
    return this.#copies.drop({ environment, ...names });
  }

  async drop(appName: string): Promise<void> {
    const { environment, names } = namesOf(appName);
    this.#ensured.delete(appName);
    await this.dropCopy(appName);
    await this.#options.engine.asAdmin(environment, "postgres", async (client) => {
      await client.query(`DROP DATABASE IF EXISTS ${quote(names.database)} WITH (FORCE)`);
      for (const role of [names.runtime, names.owner])
        await client.query(`DROP ROLE IF EXISTS ${quote(role)}`);
    });
  }

  async #ensureDatabase(appName: string, connections: number): Promise<void> {
    const { environment, names } = namesOf(appName);
    const { engine, password } = this.#options;
    await engine.asAdmin(environment, "postgres", async (client) => {
      for (const role of ["owner", "runtime"] as const)
        await ensureRole(client, names[role], password(appName, role), connections);
      const { rowCount } = await client.query("SELECT 1 FROM pg_database WHERE datname = $1", [
        names.database,
      ]);
      // From template0, which nobody can be connected to: copying one with a session in it is refused.
      if (rowCount === 0)
        await client.query(
          `CREATE DATABASE ${quote(names.database)} OWNER ${quote(names.owner)} TEMPLATE template0`,
        );
      for (const shared of ["postgres", "template1"])
        await client.query(`REVOKE CONNECT ON DATABASE ${shared} FROM PUBLIC`);
      await client.query(`REVOKE ALL ON DATABASE ${quote(names.database)} FROM PUBLIC`);
      await client.query(
        `GRANT CONNECT, TEMPORARY ON DATABASE ${quote(names.database)} TO ${quote(names.runtime)}`,
      );
    });
    await engine.asAdmin(environment, names.database, (client) =>
      grantRows(client, names.owner, names.runtime),
    );
  }
}

async function ensureRole(
  client: pg.Client,
  role: string,
  password: Redacted,
  connections: number,
): Promise<void> {
  const { rowCount } = await client.query("SELECT 1 FROM pg_roles WHERE rolname = $1", [role]);
  const verb = rowCount === 0 ? "CREATE" : "ALTER";
  const rights = `LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION CONNECTION LIMIT ${connections}`;
  await client.query(
    `${verb} ROLE ${quote(role)} ${rights} PASSWORD ${literal(password.reveal())}`,
  );
}

// App names have no underscore, so two apps never meet in one name; the prefixes keep them away from
// each other's owners, from our own role, and from what PostgreSQL calls its own (postgres, pg_...).
function namesOf(appName: string) {
  const [environment = "", app = ""] = appName.split("/");
  const name = app.replaceAll("-", "_");
  const runtime = `app_${name}`;
  const names = { database: runtime, runtime, owner: `owner_${name}`, copy: `copy_${name}` };
  return { environment, names };
}
