// A question of a person in SQL, answered by a database of its own in a process of its own
// (question-process.ts): it holds nothing but views of the tables asked for, may open the files behind
// them and no other, and is gone with the answer, or when it takes more than it may.

import { type ChildProcess, fork } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { errorOfProblem, type HoldfastError, invalid, transient } from "../../kernel/error.ts";
import type { ResultTable } from "../../kernel/signal.ts";
import { TOO_LARGE, tooSlow } from "./database.ts";
import type { Question, QuestionTable, Said } from "./question-process.ts";

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

const SCRIPT = join(import.meta.dirname, "question-process.ts");
/** DuckDB's own limit, and what holds the answer. */
const RESIDENT_MAX_BYTES = 768 * 1024 ** 2;
const LOOK_MS = 50;
/** For the start of the process, and for what DuckDB does until it hears that it is to stop. */
const BEYOND_MS = 3_000;
const PAGE_BYTES = 4_096;
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
  const asked = new AskedProcess(timeoutMs);
  try {
    const question: Question = { sql, limit, timeoutMs, scratch, tables: Object.keys(tables) };
    const first = await asked.say(question);
    if (!("asked" in first)) throw problemIn(first);
    const rows: QuestionTable[] = [];
    for (const name of first.asked) {
      const table = tables[name];
      if (!table) continue;
      const { columns, files, where, copyLive } = table();
      const file = `${scratch}.${name}.parquet`;
      live.push(file);
      await copyLive(file);
      rows.push({ name, columns, where, files: [file, ...files] });
    }
    const last = await asked.say(rows);
    if (!("answer" in last)) throw problemIn(last);
    return last.answer;
  } finally {
    await asked.end();
    for (const file of live) rmSync(file, { force: true });
    rmSync(scratch, { recursive: true, force: true });
  }
}

const problemIn = (said: Said): HoldfastError =>
  "problem" in said
    ? errorOfProblem(said.problem)
    : transient("query.no_answer", "the question was not answered", { hint: "ask again" });

class AskedProcess {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #why: HoldfastError | undefined;

  constructor(timeoutMs: number) {
    this.#child = fork(SCRIPT, [], {
      execArgv: ["--disable-warning=ExperimentalWarning"],
      env: { NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"] },
      serialization: "advanced",
      stdio: ["ignore", "ignore", "ignore", "ipc"],
    });
    const deadline = setTimeout(() => this.#kill(tooSlow(timeoutMs)), timeoutMs + BEYOND_MS);
    const watch = setInterval(() => {
      if (this.#residentBytes() > RESIDENT_MAX_BYTES) this.#kill(TOO_LARGE);
    }, LOOK_MS);
    this.#ended = new Promise((resolve) => {
      this.#child.once("close", () => {
        clearTimeout(deadline);
        clearInterval(watch);
        resolve();
      });
    });
    this.#child.on("error", () => undefined);
  }

  /** Gives what it says next. */
  say(message: Question | readonly QuestionTable[]): Promise<Said> {
    return new Promise((resolve, reject) => {
      this.#child.once("message", (said) => resolve(said as Said));
      void this.#ended.then(() =>
        reject(
          this.#why ??
            invalid("query.too_large", "the question ended the process that answered it", {
              hint: "ask for less",
            }),
        ),
      );
      this.#child.send(message, (error) => error && this.#kill(undefined));
    });
  }

  async end(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }

  #kill(why: HoldfastError | undefined): void {
    this.#why ??= why;
    this.#child.kill("SIGKILL");
  }

  #residentBytes(): number {
    try {
      const [, pages] = readFileSync(`/proc/${this.#child.pid}/statm`, "utf8").split(" ");
      return Number(pages) * PAGE_BYTES;
    } catch {
      return 0;
    }
  }
}
