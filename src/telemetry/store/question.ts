// A question of a person in SQL, answered by a database of its own: it holds nothing but views of the
// tables asked for, may open the files behind them and no other, and is gone with the answer.

import { rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { type DuckDBConnection, DuckDBInstance, StatementType } from "@duckdb/node-api";
import { type HoldfastError, invalid } from "../../kernel/error.ts";
import type { ResultTable } from "../../kernel/signal.ts";
import { quoted } from "../sql.ts";
import { checkQuestion } from "../sql-check.ts";
import { isTooLarge, problemOf } from "./database.ts";

/** The rows of one table: those in files, of which only these count, and those that are in memory yet. */
export interface TableRows {
  /** As SQL. */
  readonly columns: readonly string[];
  readonly files: readonly string[];
  readonly where: string;
  /** Writes the rows that are in no file yet into one. */
  readonly copyLive: (file: string) => Promise<void>;
}

export interface QuestionOptions {
  readonly sql: string;
  /** Name → its rows, asked for only where the question names it. */
  readonly tables: Readonly<Record<string, () => TableRows>>;
  /** A folder for what is needed only now. */
  readonly dir: string;
  readonly limit: number;
  readonly timeoutMs: number;
}

const MEMORY_LIMIT = "256MB";
const SPILL_MAX = "2GB";
const MAX_THREADS = 4;
let count = 0;

/**
 * @throws query.not_a_select, query.one_statement, query.not_allowed, query.bad_sql (with its
 * position), query.too_large, query.too_slow
 */
export async function answerQuestion(options: QuestionOptions): Promise<ResultTable> {
  const { sql, tables, dir, limit, timeoutMs } = options;
  count += 1;
  const scratch = join(dir, `question-${count}`);
  const live: string[] = [];
  const instance = await DuckDBInstance.create(":memory:", {
    threads: String(Math.min(MAX_THREADS, availableParallelism())),
    memory_limit: MEMORY_LIMIT,
    temp_directory: scratch,
    max_temp_directory_size: SPILL_MAX,
    autoinstall_known_extensions: "false",
    autoload_known_extensions: "false",
  });
  try {
    const connection = await instance.connect();
    const asked = await check(connection, sql, Object.keys(tables));
    const rows = asked.map((name) => [name, tables[name]?.() as TableRows] as const);
    const files: string[] = [];
    for (const [name, table] of rows) {
      const file = `${scratch}.${name}.parquet`;
      live.push(file);
      await table.copyLive(file);
      files.push(file, ...table.files);
    }
    await connection.run(`SET GLOBAL TimeZone = 'UTC';
      SET GLOBAL allowed_paths = [${files.map(quoted).join(", ")}];
      SET GLOBAL enable_external_access = false;
      SET GLOBAL lock_configuration = true`);
    for (const [name, { columns, files: settled, where }] of rows) {
      const list = [`${scratch}.${name}.parquet`, ...settled].map(quoted).join(", ");
      await connection.run(
        `CREATE VIEW ${name} AS SELECT ${columns.join(", ")} FROM read_parquet([${list}], union_by_name = true) WHERE ${where}`,
      );
    }
    return await ask(connection, sql, limit, timeoutMs);
  } finally {
    instance.closeSync();
    for (const file of live) rmSync(file, { force: true });
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function ask(
  connection: DuckDBConnection,
  sql: string,
  limit: number,
  timeoutMs: number,
): Promise<ResultTable> {
  const timer = setTimeout(() => connection.interrupt(), timeoutMs);
  try {
    const statement = await connection.prepare(sql);
    if (statement.statementType !== StatementType.SELECT) throw notASelect();
    const reader = await statement.streamAndReadUntil(limit);
    return {
      columns: reader.columnNames(),
      rows: reader.getRowsJson().slice(0, limit) as unknown[][],
    };
  } catch (error) {
    throw problemOf(error, timeoutMs);
  } finally {
    clearTimeout(timer);
  }
}

/** The tables that the question asks. */
async function check(
  connection: DuckDBConnection,
  sql: string,
  tables: readonly string[],
): Promise<readonly string[]> {
  const extracted = await connection.extractStatements(sql).catch((error: unknown) => {
    throw problemOf(error, 0);
  });
  if (extracted.count !== 1)
    throw invalid("query.one_statement", `a query is one statement, this is ${extracted.count}`, {
      hint: "leave out what is behind the semicolon",
    });
  const reader = await connection
    .runAndReadAll("SELECT json_serialize_sql($1::VARCHAR)", [sql])
    .catch((error: unknown) => {
      throw isTooLarge(error) ? error : notASelect();
    });
  const tree = JSON.parse(String(reader.getRows()[0]?.[0])) as {
    readonly error: boolean;
    readonly statements?: readonly unknown[];
  };
  if (tree.error || tree.statements?.length !== 1) throw notASelect();
  return checkQuestion(tree.statements, tables);
}

const notASelect = (): HoldfastError =>
  invalid("query.not_a_select", "a query only looks: it is one SELECT", {
    hint: "holdfast query 'SELECT * FROM logs LIMIT 10'",
  });
