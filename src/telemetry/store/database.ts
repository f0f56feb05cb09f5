// DuckDB, in this process's memory: it reads journals and Parquet files and answers questions. What
// it holds can always be read again; what is durable is in the files.

import { availableParallelism } from "node:os";
import { type DuckDBConnection, DuckDBInstance } from "@duckdb/node-api";
import { HoldfastError, invalid, messageOf } from "../../kernel/error.ts";

export type Row = Readonly<Record<string, unknown>>;

const MEMORY_LIMIT = "384MB";
const MAX_THREADS = 4;

export class Database {
  readonly #instance: DuckDBInstance;
  readonly #writer: DuckDBConnection;
  #writing: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  private constructor(instance: DuckDBInstance, writer: DuckDBConnection) {
    this.#instance = instance;
    this.#writer = writer;
  }

  /**
   * @param dir nothing outside of it can be read or written, whatever a query says
   * @param spillDir in it; where a sort that does not fit in memory goes on
   */
  static async open(dir: string, spillDir: string): Promise<Database> {
    const instance = await DuckDBInstance.create(":memory:", {
      threads: String(Math.min(MAX_THREADS, availableParallelism())),
      memory_limit: MEMORY_LIMIT,
      temp_directory: spillDir,
      max_temp_directory_size: "4GB",
      autoinstall_known_extensions: "false",
      autoload_known_extensions: "false",
    });
    const writer = await instance.connect();
    await writer.run(`
      SET GLOBAL TimeZone = 'UTC';
      SET GLOBAL allowed_directories = ['${dir.replaceAll("'", "''")}'];
      SET GLOBAL enable_external_access = false;
      SET GLOBAL lock_configuration = true`);
    return new Database(instance, writer);
  }

  /** Called once nothing can be done with it any more: what it held is in the files. */
  onDead: (why: string) => void = () => undefined;

  /** One change after the other. */
  write(sql: string): Promise<void> {
    const done = this.#writing.then(async () => {
      if (this.#isClosed) throw new Error("the database is closed");
      await this.#writer.run(sql).catch((error: unknown) => {
        if (/database has been invalidated/.test(messageOf(error))) this.onDead(messageOf(error));
        throw error;
      });
    });
    this.#writing = done.catch(() => undefined);
    return done;
  }

  /** Questions run beside changes and each other; each has a connection of its own. */
  async read(sql: string): Promise<readonly Row[]> {
    return this.#withConnection(async (connection) => {
      const reader = await connection.runAndReadAll(sql).catch((error: unknown) => {
        throw isTooLarge(error) ? TOO_LARGE : error;
      });
      return reader.getRowObjectsJson() as Row[];
    });
  }

  /** Once the change that is under way is done. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#writing;
    this.#writer.closeSync();
    this.#instance.closeSync();
  }

  async #withConnection<Result>(
    work: (connection: DuckDBConnection) => Promise<Result>,
  ): Promise<Result> {
    const connection = await this.#instance.connect();
    try {
      return await work(connection);
    } finally {
      connection.closeSync();
    }
  }
}

export const TOO_LARGE = invalid(
  "query.too_large",
  "the answer would take more memory than it may",
  {
    hint: "ask for less time (--since 1h), fewer lines or columns, or group earlier",
  },
);
export const isTooLarge = (error: unknown): boolean => /out of memory/i.test(messageOf(error));

export const tooSlow = (timeoutMs: number): HoldfastError =>
  invalid("query.too_slow", `the query took more than ${timeoutMs / 1000} s and was ended`, {
    hint: "ask for less time: --since 1h",
  });

/** What went wrong with a question of a person. */
export function problemOf(error: unknown, timeoutMs: number): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const text = messageOf(error);
  if (isTooLarge(error)) return TOO_LARGE;
  if (/interrupt/i.test(text)) return tooSlow(timeoutMs);
  return invalid("query.bad_sql", text.trim(), {
    hint: "tables and columns: docs/reference/tables.md",
  });
}
