// A copy of an app's database for one rehearsal: its schema, and the rows of its small tables, among
// them the books that migration tools keep. It belongs to a role of its own, who may connect to nothing
// else and goes with it: what the app's functions, defaults and checks do on the way, and what the
// release command does to roles, they do as that one.

import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type pg from "pg";
import { messageOf, stuck } from "../../kernel/error.ts";
import type { Redacted } from "../../kernel/redacted.ts";
import type { CopyState } from "../../resources/app/app-driver.ts";
import { type Argv, runOrThrow } from "../exec.ts";
import { readJson, writeJson, writeWhole } from "../files.ts";
import { asUser, findSystemUser, giveTo } from "../process/system-user.ts";
import { Schema, type SchemaFact } from "./migrations/schema.ts";
import { takenBetween } from "./migrations/schema-difference.ts";
import { readSchema } from "./migrations/schema-reader.ts";
import { type PostgresEngineDriver, postgresProgram } from "./postgres-engine-driver.ts";
import { grantRows } from "./row-grants.ts";
import { literal, quote } from "./sql-text.ts";

export interface CopyNames {
  readonly environment: string;
  readonly database: string;
  readonly copy: string;
  readonly owner: string;
  readonly runtime: string;
}

/** With what the database's owner, and the copy's, log in with. */
export type CopyOrder = CopyNames & {
  readonly password: Redacted;
  readonly copyPassword: Redacted;
};

/** Rows of a table are copied up to this size: a tool's books are far below it. */
const ROWS_MAX_BYTES = 1024 ** 2;
/** And of all tables together. */
const ALL_ROWS_MAX_BYTES = 64 * 1024 ** 2;
const LOCK_WAIT = "10s";
const CONNECTIONS = 20;
const LIST_MAX_CHARS = 64 * 1024 ** 2;
const COPY_TIMEOUT_MS = 180_000;
const MARK = "holdfast rehearsal ";

export class SchemaCopies {
  readonly #engine: PostgresEngineDriver;
  /** Those that this control plane makes, or could not make. */
  readonly #jobs = new Map<string, CopyState>();
  readonly #working = new Map<string, Promise<void>>();
  readonly #cleared = new Set<string>();

  constructor(engine: PostgresEngineDriver) {
    this.#engine = engine;
  }

  /** Begins to make it, in place of one that is there; `state` tells how that goes. */
  make(names: CopyOrder, label: string): void {
    const key = keyOf(names);
    const job = this.#jobs.get(key);
    if (job?.state === "making") return;
    this.#jobs.set(key, { state: "making", label });
    const work = this.#copy(names, label).then(
      () => void this.#jobs.delete(key),
      (error: unknown) =>
        void this.#jobs.set(key, { state: "failed", label, problem: messageOf(error) }),
    );
    this.#working.set(key, work);
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

  /**
   * What whatever ran in the copy took from the schema that it began with.
   *
   * @throws where nobody kept that
   */
  async taken(names: CopyNames): Promise<readonly string[]> {
    const facts = readJson<SchemaFact[]>(await this.#baselineFile(names));
    if (!facts) throw stuck("database.no_baseline", "what the copy began with is not known");
    return takenBetween(new Schema(facts), await this.#read(names));
  }

  async drop(names: CopyNames): Promise<void> {
    await this.#working.get(keyOf(names));
    this.#jobs.delete(keyOf(names));
    this.#working.delete(keyOf(names));
    await this.#clear(names);
    rmSync(await this.#baselineFile(names), { force: true });
  }

  #read(names: CopyNames): Promise<Schema> {
    return this.#engine.asAdmin(names.environment, names.copy, (client) =>
      readSchema(client, names.runtime),
    );
  }

  async #clear({ environment, copy }: CopyNames): Promise<void> {
    await this.#engine.asAdmin(environment, "postgres", async (client) => {
      await client.query(`DROP DATABASE IF EXISTS ${quote(copy)} WITH (FORCE)`);
      await client.query(`DROP ROLE IF EXISTS ${quote(copy)}`);
    });
  }

  // Ours alone, beside the cluster's data.
  async #baselineFile({ environment, copy }: CopyNames): Promise<string> {
    const { dir } = await this.#engine.place(environment);
    return join(dir, `${copy}.schema.json`);
  }

  async #copy(names: CopyOrder, label: string): Promise<void> {
    const { environment, copy, database } = names;
    await this.#clear(names);
    await this.#engine.asAdmin(environment, "postgres", async (client) => {
      await client.query(
        `CREATE ROLE ${quote(copy)} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION CONNECTION LIMIT ${CONNECTIONS} PASSWORD ${literal(names.copyPassword.reveal())}`,
      );
      await client.query(`CREATE DATABASE ${quote(copy)} OWNER ${quote(copy)} TEMPLATE template0`);
      await client.query(`REVOKE ALL ON DATABASE ${quote(copy)} FROM PUBLIC`);
    });
    const extensions = await this.#engine.asAdmin(environment, database, extensionsOf);
    await this.#engine.asAdmin(environment, copy, async (client) => {
      // Nothing of the app's is in it yet: what makes an extension runs nobody else's code.
      for (const one of extensions) await addExtension(client, one, copy);
      await grantRows(client, copy, names.runtime);
    });
    const large = await this.#engine.asAdmin(environment, database, largeTables);
    await this.#transfer(names, large);
    writeJson(await this.#baselineFile(names), [...(await this.#read(names)).facts]);
    await this.#engine.asAdmin(environment, "postgres", (client) =>
      client.query(`COMMENT ON DATABASE ${quote(copy)} IS ${literal(MARK + label)}`),
    );
  }

  async #transfer(names: CopyOrder, large: readonly string[]): Promise<void> {
    const { environment, database, copy } = names;
    const { dir, host, port, version } = await this.#engine.place(environment);
    const user = findSystemUser("postgres");
    const folder = join(dir, "copies");
    // Of a control plane that was killed meanwhile: nobody else's rows stay about.
    if (!this.#cleared.has(dir)) rmSync(folder, { recursive: true, force: true });
    this.#cleared.add(dir);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    giveTo(user, folder);
    const file = join(folder, `${copy}.dump`);
    // In our own folder: in that one the engine's user could put a link in its place.
    const listFile = join(dir, `${copy}.list`);
    const run = (program: string, login: { user: string; password: Redacted }, ...args: string[]) =>
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
          outputMaxChars: LIST_MAX_CHARS,
          env: {
            PATH: "/usr/bin:/bin",
            PGHOST: host,
            PGPORT: String(port),
            PGUSER: login.user,
            PGPASSWORD: login.password.reveal(),
            PGAPPNAME: "holdfast rehearsal",
          },
        },
      );
    try {
      const without = large.map((table) => `--exclude-table-data=${table}`);
      await run(
        "pg_dump",
        { user: names.owner, password: names.password },
        // Behind a lock nobody queues for long: what comes after it would wait, too.
        ...["--lock-wait-timeout", LOCK_WAIT],
        ...["--format=custom", "--no-owner", "--enable-row-security", "--file", file],
        ...[...without, database],
      );
      // Not as a script: no text of the app's is ever read by psql.
      const copier = { user: names.copy, password: names.copyPassword };
      const entries = await run("pg_restore", copier, "--list", file);
      // The owner's own defaults are the copier's already; extensions are there.
      const list = entries.split("\n").filter((line) => !LEFT_OUT.test(line));
      writeWhole(listFile, list.join("\n"));
      giveTo(user, listFile);
      await run(
        "pg_restore",
        copier,
        "--no-owner",
        "--use-list",
        listFile,
        "--exit-on-error",
        "--dbname",
        copy,
        file,
      );
    } catch (error) {
      throw stuck("database.not_copied", `the schema could not be copied: ${messageOf(error)}`, {
        hint: "holdfast doctor",
      });
    } finally {
      for (const one of [file, listFile]) rmSync(one, { force: true });
    }
  }
}

/** Entries of an archive that are made otherwise. */
const LEFT_OUT = / (DEFAULT ACL|EXTENSION) |COMMENT - EXTENSION /;

interface Extension {
  readonly name: string;
  readonly schema: string;
}

async function extensionsOf(client: pg.Client): Promise<readonly Extension[]> {
  const { rows } = await client.query<Extension>(
    "SELECT e.extname AS name, n.nspname AS schema FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname <> 'plpgsql' ORDER BY e.oid",
  );
  return rows;
}

// As the copy's own role where that may, so that it may drop it again.
async function addExtension(client: pg.Client, one: Extension, role: string): Promise<void> {
  const make = `CREATE EXTENSION IF NOT EXISTS ${quote(one.name)} SCHEMA ${quote(one.schema)} CASCADE`;
  if (one.schema !== "public" && one.schema !== "pg_catalog")
    await client.query(
      `CREATE SCHEMA IF NOT EXISTS ${quote(one.schema)} AUTHORIZATION ${quote(role)}`,
    );
  try {
    await client.query(`SET ROLE ${quote(role)}`);
    await client.query(make);
    await client.query("RESET ROLE");
  } catch {
    await client.query("RESET ROLE");
    await client.query(make);
  }
}

// With those that refer to them: a row whose other end is missing can't be restored. What is
// materialized can't be filled without its rows.
async function largeTables(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `WITH RECURSIVE sized AS (
       SELECT c.oid, c.relkind, pg_total_relation_size(c.oid) AS bytes,
              sum(pg_total_relation_size(c.oid)) OVER (ORDER BY pg_total_relation_size(c.oid), c.oid) AS sum
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relkind IN ('r', 'm') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'),
     large AS (
       SELECT oid FROM sized WHERE relkind = 'm' OR bytes > $1 OR sum > $2
       UNION SELECT more.oid FROM large CROSS JOIN LATERAL (
         SELECT o.conrelid AS oid FROM pg_constraint o WHERE o.confrelid = large.oid AND o.contype = 'f'
         UNION ALL SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = large.oid) more)
     SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
     FROM large JOIN pg_class c ON c.oid = large.oid JOIN pg_namespace n ON n.oid = c.relnamespace`,
    [ROWS_MAX_BYTES, ALL_ROWS_MAX_BYTES],
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
