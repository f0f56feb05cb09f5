// Everything that production said: one store for logs, requests and spans, durable, bounded, and
// asked in SQL.

import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { diskFull, isDiskFull, messageOf, transient } from "../../kernel/error.ts";
import {
  type ResultTable,
  SIGNALS,
  type Signal,
  type TelemetryPolicies,
} from "../../kernel/signal.ts";
import { Turns } from "../../kernel/turns.ts";
import { Archive } from "./archive.ts";
import { Database } from "./database.ts";
import { answerQuestion, type QuestionOptions } from "./question.ts";
import { type Extent, SignalStore } from "./signal-store.ts";

export interface TelemetryStoreOptions {
  readonly dir: string;
  readonly now: () => number;
  /** Whether a log file is still there: offsets of others are forgotten. */
  readonly isSource: (file: string) => boolean;
  readonly policies: () => TelemetryPolicies;
  readonly onProblem: (what: string, error: unknown) => void;
  /** The database can't go on: a fresh start reads everything again. */
  readonly onDead?: (why: string) => void;
  /** Data that had to go because the disk was full. */
  readonly onDropped: (signal: Signal, rows: number) => void;
  /** Lines that are no rows, with a file that they are in. */
  readonly onUnreadable?: (signal: Signal, lines: number, copy: string) => void;
}

/** Each is a process; by environment. */
const QUESTIONS = { atOnce: 4, ofOne: 2, waitingMax: 20 };
const LOAD_EVERY_MS = 1_000;
const SETTLE_CHECK_MS = 5_000;
const COMPACT_EVERY_MS = 60_000;
const RETAIN_EVERY_MS = 60_000;

export class TelemetryStore {
  readonly database: Database;
  readonly archive: Archive;
  readonly signals: Readonly<Record<Signal, SignalStore>>;
  readonly #options: TelemetryStoreOptions;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #questions = new Turns({
    ...QUESTIONS,
    refusal: () =>
      transient("query.busy", `${QUESTIONS.waitingMax} questions wait already`, {
        hint: "try again in a moment",
      }),
  });
  #isClosing = false;

  private constructor(
    database: Database,
    archive: Archive,
    signals: Readonly<Record<Signal, SignalStore>>,
    options: TelemetryStoreOptions,
  ) {
    this.#options = options;
    this.database = database;
    this.archive = archive;
    this.signals = signals;
  }

  static async open(options: TelemetryStoreOptions): Promise<TelemetryStore> {
    const { dir, now, isSource, policies } = options;
    const spillDir = join(dir, "spill");
    rmSync(spillDir, { recursive: true, force: true });
    mkdirSync(spillDir, { recursive: true, mode: 0o700 });
    const database = await Database.open(dir, spillDir);
    if (options.onDead) database.onDead = options.onDead;
    const archive = new Archive(join(dir, "archive"));
    const stores: Partial<Record<Signal, SignalStore>> = {};
    for (const signal of SIGNALS) {
      stores[signal] = await SignalStore.open({
        signal,
        dir: join(dir, "journal", signal),
        archive,
        database,
        now,
        policies,
        onUnreadable: options.onUnreadable ?? (() => undefined),
        ...(signal === "logs" && { isSource }),
      });
    }
    const store = new TelemetryStore(
      database,
      archive,
      stores as Record<Signal, SignalStore>,
      options,
    );
    store.#start(options);
    return store;
  }

  /** What was appended so far can be asked for once it resolves. */
  async load(signals: readonly Signal[] = SIGNALS): Promise<void> {
    await Promise.all(signals.map((signal) => this.signals[signal].load()));
  }

  /**
   * Appends; where the disk is full the oldest data makes room.
   *
   * @throws disk.full where there is none left to go
   */
  append(signal: Signal, lines: string, mark = ""): Promise<void> {
    return this.#withRoom(() => this.signals[signal].journal.append(lines, mark));
  }

  /**
   * Moves live rows to Parquet where they are old or many enough, or at once; where the disk is full
   * the oldest data makes room for that too.
   */
  settle(signal: Signal, isUrgent = false): Promise<void> {
    const store = this.signals[signal];
    return this.#withRoom(() => (isUrgent ? store.settle() : store.settleWhenDue()));
  }

  rows(signal: Signal, extent: Extent): string {
    return this.signals[signal].rows(extent);
  }

  /** A question of a person: only looks, only at the rows of the extent. */
  async ask(
    extent: Extent,
    question: Pick<QuestionOptions, "sql" | "limit" | "timeoutMs">,
  ): Promise<ResultTable> {
    const tables = SIGNALS.map((signal) => [signal, () => this.signals[signal].parts(extent)]);
    return this.#questions.take(extent.environment ?? "", () =>
      answerQuestion({
        ...question,
        tables: Object.fromEntries(tables),
        dir: join(this.#options.dir, "spill"),
      }),
    );
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    this.#questions.close();
    for (const timer of this.#timers) clearInterval(timer);
    // What is under way ends first: it needs the database.
    for (const signal of SIGNALS)
      await this.signals[signal].undisturbed(() => this.signals[signal].journal.seal());
    await this.database.close();
  }

  async #withRoom(work: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (!isDiskFull(error)) throw error;
        if (!this.#makeRoom())
          throw diskFull(error, `the disk of telemetry, ${this.#options.dir},`);
      }
    }
  }

  #makeRoom(): boolean {
    const gone = this.archive.dropOldest();
    if (gone === undefined) return false;
    this.#options.onDropped(gone.signal, gone.rows);
    return true;
  }

  #start({ onProblem }: TelemetryStoreOptions): void {
    const each = (
      everyMs: number,
      what: string,
      work: (store: SignalStore, signal: Signal) => Promise<void>,
    ): void => {
      const all = (): void => {
        for (const signal of SIGNALS)
          work(this.signals[signal], signal).catch((error: unknown) => {
            if (!this.#isClosing)
              onProblem(`${what} of ${signal} failed: ${messageOf(error)}`, error);
          });
      };
      this.#timers.push(setInterval(all, everyMs));
    };
    each(LOAD_EVERY_MS, "loading", (store) => store.load());
    each(SETTLE_CHECK_MS, "settling", (_store, signal) => this.settle(signal));
    each(COMPACT_EVERY_MS, "compacting", (store) => store.compact());
    each(RETAIN_EVERY_MS, "retention", (store) => store.retain());
  }
}
