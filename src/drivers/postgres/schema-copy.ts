// A copy of an app's database for one rehearsal: its schema, and the rows of its small tables, among
// them the books that migration tools keep. Everything in it is made by the app's own owner role, who
// logs in himself: what the app's functions, defaults and checks do on the way they do as him.

import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type pg from "pg";
import { messageOf, stuck } from "../../kernel/error.ts";
import type { Redacted } from "../../kernel/redacted.ts";
import type { CopyState } from "../../resources/app/app-driver.ts";
import { type Argv, runOrThrow } from "../exec.ts";
import { asUser, findSystemUser, giveTo } from "../process/system-user.ts";
import type { Schema } from "./migrations/schema.ts";
import { takenBetween } from "./migrations/schema-difference.ts";
import { readSchema } from "./migrations/schema-reader.ts";
import { type PostgresEngineDriver, postgresProgram } from "./postgres-engine-driver.ts";
import { literal, quote } from "./sql-text.ts";

export interface CopyNames {
  readonly environment: string;
  readonly database: string;
  readonly copy: string;
  readonly owner: string;
  readonly runtime: string;
}

/** With what its owner logs in with. */
export type CopyOrder = CopyNames & { readonly password: Redacted };

/** Rows of a table are copied up to this size: a tool's books are far below it. */
const ROWS_MAX_BYTES = 1024 ** 2;
const COPY_TIMEOUT_MS = 180_000;
const MARK = "holdfast rehearsal ";

export class SchemaCopies {
  readonly #engine: PostgresEngineDriver;
  /** Those that this control plane makes, or could not make. */
  readonly #jobs = new Map<string, CopyState>();

  constructor(engine: PostgresEngineDriver) {
    this.#engine = engine;
  }

  /** Begins to make it, in place of one that is there; `state` tells how that goes. */
  make(names: CopyOrder, label: string): void {
    const key = keyOf(names);
    const job = this.#jobs.get(key);
    if (job?.state === "making") return;
    this.#jobs.set(key, { state: "making", label });
    this.#copy(names, label).then(
      () => this.#jobs.delete(key),
      (error: unknown) =>
        this.#jobs.set(key, { state: "failed", label, problem: messageOf(error) }),
    );
  }

  /** A copy that a control plane did not finish before it was killed is none. */
  async state(names: CopyNames): Promise<CopyState> {
    const job = this.#jobs.get(keyOf(names));
    if (job) return job;
    const mark = await this.#engine.asAdmin(names.environment, "postgres", async (client) => {
      const { rows } = await client.query<{ mark: string | null }>(
        "SELECT shobj_description(oid, 'pg_database') AS mark FROM pg_database WHERE datname = $1",
        [names.copy],
      );
      return rows[0] && (rows[0].mark ?? "");
    });
    if (mark === undefined) return { state: "none" };
    return { state: "ready", label: mark.startsWith(MARK) ? mark.slice(MARK.length) : "" };
  }

  /** What whatever ran in the copy took from the schema that the app has. */
  async taken(names: CopyNames): Promise<readonly string[]> {
    const read = (database: string): Promise<Schema> =>
      this.#engine.asAdmin(names.environment, database, (client) =>
        readSchema(client, names.runtime),
      );
    return takenBetween(await read(names.database), await read(names.copy));
  }

  async drop(names: CopyNames): Promise<void> {
    this.#jobs.delete(keyOf(names));
    await this.#engine.asAdmin(names.environment, "postgres", (client) =>
      client.query(`DROP DATABASE IF EXISTS ${quote(names.copy)} WITH (FORCE)`),
    );
  }

  async #copy(names: CopyOrder, label: string): Promise<void> {
    const { environment, copy, owner, database } = names;
    await this.#engine.asAdmin(environment, "postgres", async (client) => {
      await client.query(`DROP DATABASE IF EXISTS ${quote(copy)} WITH (FORCE)`);
      await client.query(`CREATE DATABASE ${quote(copy)} OWNER ${quote(owner)} TEMPLATE template0`);
      await client.query(`REVOKE ALL ON DATABASE ${quote(copy)} FROM PUBLIC`);
    });
    await this.#engine.asAdmin(environment, copy, async (client) => {
      await client.query("REVOKE ALL ON SCHEMA public FROM PUBLIC");
      await client.query(`ALTER SCHEMA public OWNER TO ${quote(owner)}`);
    });
    const large = await this.#engine.asAdmin(environment, database, largeTables);
    await this.#transfer(names, large);
    await this.#engine.asAdmin(environment, "postgres", (client) =>
      client.query(`COMMENT ON DATABASE ${quote(copy)} IS ${literal(MARK + label)}`),
    );
  }

  async #transfer(names: CopyOrder, large: readonly string[]): Promise<void> {
    const { environment, database, copy } = names;
    const { dir, host, port, version } = await this.#engine.place(environment);
    const user = findSystemUser("postgres");
    const folder = join(dir, "copies");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    giveTo(user, folder);
    const file = join(folder, `${copy}.dump`);
    const run = (program: string, ...args: string[]) =>
      runOrThrow(
        [
          ...asUser(user),
          postgresProgram(program, version),
          "--no-password",
          ...args,
        ] as unknown as Argv,
        {
          cwd: "/",
          timeoutMs: COPY_TIMEOUT_MS,
          env: {
            PATH: "/usr/bin:/bin",
            PGHOST: host,
            PGPORT: String(port),
            PGUSER: names.owner,
            PGPASSWORD: names.password.reveal(),
            PGAPPNAME: "holdfast rehearsal",
            PGOPTIONS: "-c lock_timeout=10s -c statement_timeout=120s",
          },
        },
      );
    try {
      const without = large.map((table) => `--exclude-table-data=${table}`);
      await run(
        "pg_dump",
        ...["--format=custom", "--no-owner", "--enable-row-security", "--file", file],
        ...[...without, database],
      );
      // Not as a script: no text of the app's is ever read by psql.
      await run("pg_restore", "--no-owner", "--exit-on-error", "--dbname", copy, file);
    } catch (error) {
      throw stuck("database.not_copied", `the schema could not be copied: ${messageOf(error)}`, {
        hint: "holdfast doctor",
      });
    } finally {
      rmSync(file, { force: true });
    }
  }
}

// With those that refer to them: a row whose other end is missing can't be restored.
async function largeTables(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `WITH RECURSIVE large AS (
       SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relkind IN ('r', 'm') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
         AND pg_total_relation_size(c.oid) > $1
       UNION SELECT more.oid FROM large CROSS JOIN LATERAL (
         SELECT o.conrelid AS oid FROM pg_constraint o WHERE o.confrelid = large.oid AND o.contype = 'f'
         UNION ALL SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = large.oid) more)
     SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
     FROM large JOIN pg_class c ON c.oid = large.oid JOIN pg_namespace n ON n.oid = c.relnamespace`,
    [ROWS_MAX_BYTES],
  );
  return rows.map(({ name }) => pattern(name));
}

// Of pg_dump's patterns: what is quoted stands for itself.
const pattern = (qualified: string): string =>
  qualified
    .split(/\.(?=(?:[^"]*"[^"]*")*[^"]*$)/)
    .map((part) => (part.startsWith('"') ? part : `"${part}"`))
    .join(".");

const keyOf = ({ environment, copy }: CopyNames): string => `${environment}/${copy}`;
