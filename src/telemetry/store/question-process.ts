// Answers one question in SQL in a process of its own, for question.ts: what a question may take of
// memory and time holds also inside a function that DuckDB does not interrupt, because the process can
// be ended. Messages: the question comes in, which tables it asks goes out, their rows come in, and the
// answer goes out.

import { availableParallelism } from "node:os";
import { type DuckDBConnection, DuckDBInstance, StatementType } from "@duckdb/node-api";
import {
  asHoldfastError,
  type HoldfastError,
  invalid,
  type Problem,
  problemOf as problemJson,
} from "../../kernel/error.ts";
import type { ResultTable } from "../../kernel/signal.ts";
import { quoted } from "../sql.ts";
import { checkQuestion } from "../sql-check.ts";
import { isTooLarge, problemOf } from "./database.ts";

export interface Question {
  readonly sql: string;
  readonly limit: number;
  readonly timeoutMs: number;
  /** Names of tables that there are. */
  readonly tables: readonly string[];
  /** A folder for what is needed only now. */
  readonly scratch: string;
}

export interface QuestionTable {
  readonly name: string;
  /** As SQL. */
  readonly columns: readonly string[];
  readonly files: readonly string[];
  readonly where: string;
}

export type Said =
  | { readonly asked: readonly string[] }
  | { readonly answer: ResultTable }
  | { readonly problem: Problem };

const MEMORY_LIMIT = "256MB";
const SPILL_MAX = "2GB";
const MAX_THREADS = 4;

async function answer(question: Question): Promise<ResultTable> {
  const { sql, limit, timeoutMs, scratch } = question;
  const instance = await DuckDBInstance.create(":memory:", {
    threads: String(Math.min(MAX_THREADS, availableParallelism())),
    memory_limit: MEMORY_LIMIT,
    temp_directory: scratch,
    max_temp_directory_size: SPILL_MAX,
    autoinstall_known_extensions: "false",
    autoload_known_extensions: "false",
  });
  const connection = await instance.connect();
  const tables = next<readonly QuestionTable[]>();
  say({ asked: await check(connection, sql, question.tables) });
  await lookAt(connection, await tables);
  return ask(connection, sql, limit, timeoutMs);
}

/** Views of these tables, and nothing else from here on. */
async function lookAt(
  connection: DuckDBConnection,
  tables: readonly QuestionTable[],
): Promise<void> {
  const files = tables.flatMap((table) => table.files);
  await connection.run(`SET GLOBAL TimeZone = 'UTC';
    SET GLOBAL allowed_paths = [${files.map(quoted).join(", ")}];
    SET GLOBAL enable_external_access = false;
    SET GLOBAL lock_configuration = true`);
  for (const table of tables) {
    const list = table.files.map(quoted).join(", ");
    await connection.run(
      `CREATE VIEW ${table.name} AS SELECT ${table.columns.join(", ")} FROM read_parquet([${list}], union_by_name = true) WHERE ${table.where}`,
    );
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

const say = (said: Said): void => void process.send?.(said);
const next = <Message>(): Promise<Message> =>
  new Promise((resolve) => process.once("message", (message) => resolve(message as Message)));

if (import.meta.main) {
  // Whoever asked has gone. An orderly end would wait for what DuckDB is at.
  process.once("disconnect", () => process.kill(process.pid, "SIGKILL"));
  const said = await answer(await next<Question>()).then(
    (table): Said => ({ answer: table }),
    (error: unknown): Said => ({ problem: problemJson(asHoldfastError(error)) }),
  );
  process.send?.(said, () => process.exit(0));
}
