// Everything that production said: one store for logs, requests and spans, durable, bounded, and
// asked in SQL.

import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../kernel/error.ts";
import { Archive } from "./archive.ts";
import { Database } from "./database.ts";
import { type Extent, SignalStore } from "./signal-store.ts";
import { SIGNALS, type Signal } from "./tables.ts";

export interface TelemetryStoreOptions {
  readonly dir: string;
  readonly now: () => number;
  /** Whether a log file is still there: offsets of others are forgotten. */
  readonly isSource: (file: string) => boolean;
  readonly onProblem: (what: string, error: unknown) => void;
}

const LOAD_EVERY_MS = 1_000;
const SETTLE_CHECK_MS = 5_000;
const COMPACT_EVERY_MS = 60_000;

export class TelemetryStore {
  readonly database: Database;
  readonly archive: Archive;
  readonly signals: Readonly<Record<Signal, SignalStore>>;
  readonly #timers: NodeJS.Timeout[] = [];

  private constructor(
    database: Database,
    archive: Archive,
    signals: Readonly<Record<Signal, SignalStore>>,
  ) {
    this.database = database;
    this.archive = archive;
    this.signals = signals;
  }

  static async open(options: TelemetryStoreOptions): Promise<TelemetryStore> {
    const { dir, now, isSource } = options;
    const spillDir = join(dir, "spill");
    rmSync(spillDir, { recursive: true, force: true });
    mkdirSync(spillDir, { recursive: true, mode: 0o700 });
    const database = await Database.open(dir, spillDir);
    const archive = new Archive(join(dir, "archive"));
    const stores: Partial<Record<Signal, SignalStore>> = {};
    for (const signal of SIGNALS) {
      stores[signal] = await SignalStore.open({
        signal,
        dir: join(dir, "journal", signal),
        archive,
        database,
        now,
        ...(signal === "logs" && { isSource }),
      });
    }
    const store = new TelemetryStore(database, archive, stores as Record<Signal, SignalStore>);
    store.#start(options);
    return store;
  }

  /** What was appended so far can be asked for once it resolves. */
  async load(signals: readonly Signal[] = SIGNALS): Promise<void> {
    await Promise.all(signals.map((signal) => this.signals[signal].load()));
  }

  rows(signal: Signal, extent: Extent): string {
    return this.signals[signal].rows(extent);
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    for (const signal of SIGNALS) await this.signals[signal].journal.seal();
    this.database.close();
  }

  #start({ onProblem }: TelemetryStoreOptions): void {
    const each = (
      everyMs: number,
      what: string,
      work: (store: SignalStore) => Promise<void>,
    ): void => {
      const all = (): void => {
        for (const signal of SIGNALS)
          work(this.signals[signal]).catch((error: unknown) =>
            onProblem(`${what} of ${signal} failed: ${messageOf(error)}`, error),
          );
      };
      this.#timers.push(setInterval(all, everyMs));
    };
    each(LOAD_EVERY_MS, "loading", (store) => store.load());
    each(SETTLE_CHECK_MS, "settling", (store) => store.settleWhenDue());
    each(COMPACT_EVERY_MS, "compacting", (store) => store.compact());
  }
}
