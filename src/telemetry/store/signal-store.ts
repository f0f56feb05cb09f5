// One signal's way through the store: journal (durable) → live rows (in memory, can be asked) →
// Parquet (small, for long). A row is in exactly one of the last two, as the archive says.

import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { DEFAULT_POLICY, type Signal, type TelemetryPolicies } from "../../kernel/signal.ts";
import { quoted, timestamp } from "../sql.ts";
import type { Archive, ArchiveFile } from "./archive.ts";
import type { Database } from "./database.ts";
import { Journal, MARK } from "./journal.ts";
import type { TableRows } from "./question.ts";
import { TABLES, type Table } from "./tables.ts";

export interface SignalStoreOptions {
  readonly signal: Signal;
  readonly dir: string;
  readonly archive: Archive;
  readonly database: Database;
  readonly now: () => number;
  readonly policies: () => TelemetryPolicies;
  /** Told of lines that could not be read, and of a copy of what they were in. */
  readonly onUnreadable: (signal: Signal, lines: number, copy: string) => void;
  /** Where marks say how far log files were read: whether a file is still there. */
  readonly isSource?: (file: string) => boolean;
}

/** Rows between two points in time; without an environment, of all of them. */
export interface Extent {
  readonly from: number;
  readonly to: number;
  readonly environment?: string | undefined;
}

export interface Loaded {
  readonly batches: readonly number[];
  /** A query for the rows of these batches. */
  readonly rows: string;
}

/** Batches with lines that could not be read. */
const UNREADABLE_KEPT = 4;
const NEWLINE = 10;
const SETTLE_AFTER_MS = 60_000;
const SETTLE_BYTES = 32 * 1024 ** 2;
/** Longer than any question may take. */
const LINGER_MS = 35_000;
const LINGER_BYTES = 16 * 1024 ** 2;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** More small files than this in one hour are made one. */
const COMPACT_FILES = 12;
const SMALL_BYTES = 16 * 1024 ** 2;

export class SignalStore {
  readonly signal: Signal;
  readonly journal: Journal;
  readonly #options: SignalStoreOptions;
  readonly #table: Table;
  /** Each with the batch up to which it was told. */
  readonly #listeners = new Map<(loaded: Loaded) => Promise<void>, number>();
  #working: Promise<unknown> = Promise.resolve();
  /** Batches that are in the live table. */
  #live: number[] = [];
  #liveBytes = 0;
  /** Settled, and not yet forgotten here. */
  #lingering: { readonly through: number; readonly bytes: number }[] = [];
  #settledAt: number;

  private constructor(options: SignalStoreOptions) {
    this.signal = options.signal;
    this.#options = options;
    this.#table = TABLES[options.signal];
    const through = options.archive.through(options.signal);
    mkdirSync(options.dir, { recursive: true, mode: 0o700 });
    this.journal = new Journal(options.dir, through);
    this.journal.drop(through);
    this.#settledAt = options.now();
  }

  static async open(options: SignalStoreOptions): Promise<SignalStore> {
    const store = new SignalStore(options);
    const columns = store.#table.columns.map(({ name, type }) => `${name} ${type}`).join(", ");
    await options.database.write(`CREATE TABLE ${store.#liveTable} (batch BIGINT, ${columns})`);
    await store.load();
    return store;
  }

  /**
   * Called with what is loaded from now on, once each, while it is certainly in the live table; again
   * with what it failed on.
   */
  onLoaded(listener: (loaded: Loaded) => Promise<void>): () => void {
    this.#listeners.set(listener, this.lastLoaded);
    return () => this.#listeners.delete(listener);
  }

  /** What was appended before this call can be asked for once it resolves. */
  load(): Promise<void> {
    return this.#inTurn(() => this.#load());
  }

  /** The newest batch that can be asked for. */
  get lastLoaded(): number {
    return this.#live.at(-1) ?? this.#options.archive.through(this.signal);
  }

  /** What is loaded beyond a batch and still live. */
  loadedAfter(batch: number): Loaded {
    const batches = this.#live.filter((one) => one > batch);
    const between = `batch > ${batch} AND batch <= ${batches.at(-1) ?? batch}`;
    return { batches, rows: `SELECT * FROM ${this.#liveTable} WHERE ${between}` };
  }

  /** Moves live rows to Parquet where they are old or many enough. */
  settleWhenDue(): Promise<void> {
    return this.#inTurn(async () => {
      const isDue =
        this.#liveBytes > SETTLE_BYTES || this.#options.now() - this.#settledAt > SETTLE_AFTER_MS;
      if (isDue) await this.#settle();
    });
  }

  settle(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#load();
      await this.#settle();
    });
  }

  /** Makes one file of many small ones, an hour at a time. */
  compact(): Promise<void> {
    return this.#inTurn(() => this.#compact());
  }

  /** Log file → up to which byte its lines are in the store, as far as files are still there. */
  offsets(): Record<string, number> {
    const offsets = { ...this.#options.archive.offsets };
    for (const batch of this.journal.batches())
      for (const mark of this.journal.marksOf(batch))
        if (mark !== "") Object.assign(offsets, JSON.parse(mark));
    const isSource = this.#options.isSource;
    if (isSource)
      for (const file of Object.keys(offsets)) if (!isSource(file)) delete offsets[file];
    return offsets;
  }

  /** Removes what is older than it may be, and the oldest where there is more than there may be. */
  retain(): Promise<void> {
    return this.#inTurn(async () => {
      const { archive, now, policies } = this.#options;
      const byEnvironment = Map.groupBy(archive.files(this.signal), (file) => file.environment);
      for (const [environment, files] of byEnvironment) {
        // A policy of an earlier build does not speak of every signal.
        const { days, bytes } =
          policies()[environment]?.retention[this.signal] ?? DEFAULT_POLICY.retention[this.signal];
        const tooOld = now() - days * DAY_MS;
        let room = bytes;
        const gone = files
          .toSorted((a, b) => b.to - a.to)
          .filter((file) => {
            room -= file.bytes;
            return file.to < tooOld || room < 0;
          });
        if (gone.length > 0) archive.replace(gone, []);
      }
    });
  }

  /** A query for all rows of an extent, whole rows of the table's columns. */
  rows(extent: Extent): string {
    const { files, where } = this.parts(extent);
    const list = files.map(quoted).join(", ");
    const live = this.#liveRows(namesOf(this.#table), where);
    if (files.length === 0) return live;
    const kept = `SELECT * FROM read_parquet([${list}], union_by_name = true) WHERE ${where}`;
    // By name: where all files are of an earlier build, the table says which columns they lack.
    const whole = `SELECT * EXCLUDE (batch) FROM ${this.#liveTable} WHERE false UNION ALL BY NAME ${kept}`;
    return `${live} UNION ALL SELECT ${columnsOf(this.#table).join(", ")} FROM (${whole})`;
  }

  /** The same for another database, by files; what is in none yet can be copied into one. */
  parts({ from, to, environment }: Extent): TableRows {
    const { archive, database } = this.#options;
    const files = archive
      .files(this.signal)
      .filter((file) => file.to >= from && file.from <= to)
      .filter((file) => environment === undefined || file.environment === environment);
    const where = [
      `time >= ${timestamp(from)}`,
      `time <= ${timestamp(to)}`,
      ...(environment === undefined ? [] : [`environment = ${quoted(environment)}`]),
    ].join(" AND ");
    const live = this.#liveRows(namesOf(this.#table), where);
    return {
      columns: columnsOf(this.#table),
      files: files.map((file) => archive.pathOf(file)),
      where,
      copyLive: async (file) => {
        await database.read(`COPY (${live}) TO ${quoted(file)} (FORMAT parquet)`);
      },
    };
  }

  #liveRows(columns: readonly string[], where: string): string {
    const through = this.#options.archive.through(this.signal);
    return `SELECT ${columns.join(", ")} FROM ${this.#liveTable} WHERE batch > ${through} AND ${where}`;
  }

  get #liveTable(): string {
    return `live_${this.signal}`;
  }

  /** Runs a question while no row moves: for answers that are kept, and must miss none. */
  undisturbed<Answer>(question: () => Promise<Answer>): Promise<Answer> {
    return this.#inTurn(question);
  }

  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const done = this.#working.then(work);
    this.#working = done.catch(() => undefined);
    return done;
  }

  async #load(): Promise<void> {
    await this.journal.seal();
    const batches = this.journal.sealed().filter((batch) => batch > (this.#live.at(-1) ?? 0));
    // Each under its own number, also after a start: who has had a part of them goes on from there.
    for (const batch of batches) await this.#loadBatch(batch);
    for (const [listener, position] of this.#listeners) {
      const loaded = this.loadedAfter(position);
      const last = loaded.batches.at(-1);
      if (last === undefined) continue;
      await listener(loaded);
      this.#listeners.set(listener, last);
    }
  }

  async #loadBatch(batch: number): Promise<void> {
    const file = this.journal.fileOf(batch);
    const { size } = statSync(file);
    if (size > 0) {
      const parsed = this.#table.parse([file]);
      const columns = this.#table.columns.map(({ name }) => name);
      const rows = this.#table.redact?.(parsed, columns, this.#options.policies()) ?? parsed;
      await this.#options.database.write(
        `INSERT INTO ${this.#liveTable} SELECT ${batch}, * FROM (${rows})`,
      );
      await this.#checkAllRead(batch, file);
    }
    this.#live.push(batch);
    this.#liveBytes += size;
  }

  // What can't be read is no row; it is counted, and kept where a person can look at it.
  async #checkAllRead(batch: number, file: string): Promise<void> {
    const [found] = await this.#options.database.read(
      `SELECT count(*)::DOUBLE AS n FROM ${this.#liveTable} WHERE batch = ${batch}`,
    );
    const unread = linesIn(file) - Number(found?.["n"] ?? 0);
    if (unread <= 0) return;
    const { onUnreadable, dir } = this.#options;
    const kept = join(dirname(dir), "unreadable", `${this.signal}.${batch}.txt`);
    mkdirSync(dirname(kept), { recursive: true, mode: 0o700 });
    for (const old of readdirSync(dirname(kept)).sort().slice(0, -UNREADABLE_KEPT))
      rmSync(join(dirname(kept), old), { force: true });
    copyFileSync(file, kept);
    onUnreadable(this.signal, unread, kept);
  }

  async #settle(): Promise<void> {
    const { archive, now } = this.#options;
    const through = this.#live.at(-1);
    this.#settledAt = now();
    if (through === undefined) return;
    const added: ArchiveFile[] = [];
    try {
      await this.#writeLive(through, added);
      archive.settle(this.signal, through, added, this.offsets());
    } catch (error) {
      // Nobody knows of them, and what has no room needs it.
      for (const file of added) rmSync(archive.pathOf(file), { force: true });
      throw error;
    }
    this.#forgetLater(through, this.#liveBytes);
    this.journal.drop(through);
    this.#live = [];
    this.#liveBytes = 0;
  }

  /**
   * A question that was put together before rows were settled may still look for them here; where
   * much is settled at once they go sooner, or memory would.
   */
  #forgetLater(through: number, bytes: number): void {
    this.#lingering.push({ through, bytes });
    let kept = this.#lingering.reduce((sum, one) => sum + one.bytes, 0);
    while (kept > LINGER_BYTES) {
      const [oldest] = this.#lingering;
      kept -= oldest?.bytes ?? kept;
      void this.#forget();
    }
    setTimeout(() => void this.#forget(through), LINGER_MS).unref();
  }

  /** The oldest that linger, or all up to a batch. */
  async #forget(upTo = this.#lingering[0]?.through ?? 0): Promise<void> {
    this.#lingering = this.#lingering.filter(({ through }) => through > upTo);
    await this.#options.database
      .write(`DELETE FROM ${this.#liveTable} WHERE batch <= ${upTo}`)
      .catch(() => undefined);
  }

  /** A file for each environment and hour; those that were written are in `added` also where one fails. */
  async #writeLive(through: number, added: ArchiveFile[]): Promise<void> {
    const { archive, database } = this.#options;
    const unsettled = `batch > ${archive.through(this.signal)} AND batch <= ${through}`;
    const groups = await database.read(
      `SELECT environment, strftime(time, '%Y-%m-%dT%H') AS hour FROM ${this.#liveTable} WHERE ${unsettled} GROUP BY ALL`,
    );
    for (const { environment, hour } of groups) {
      const where = `${unsettled} AND environment = ${quoted(String(environment))} AND strftime(time, '%Y-%m-%dT%H') = ${quoted(String(hour))}`;
      added.push(
        await this.#writeFile(
          String(environment),
          String(hour),
          `${this.#live[0]}-${through}`,
          `SELECT * EXCLUDE (batch) FROM ${this.#liveTable} WHERE ${where}`,
        ),
      );
    }
  }

  async #compact(): Promise<void> {
    const { archive, now } = this.#options;
    const thisHour = hourOf(now());
    const folders = Map.groupBy(archive.files(this.signal), ({ path }) => dirname(path));
    for (const files of folders.values()) {
      const [first] = files;
      if (first === undefined) continue;
      const isPast = first.hour < thisHour && now() - first.to > HOUR_MS / 4;
      const small = isPast ? files : files.filter(({ bytes }) => bytes < SMALL_BYTES);
      if (small.length < (isPast ? 2 : COMPACT_FILES)) continue;
      const list = small.map((file) => quoted(archive.pathOf(file))).join(", ");
      const name = `${nameOf(small[0])}.${nameOf(small.at(-1))}.${small.length}`;
      const merged = await this.#writeFile(
        first.environment,
        first.hour,
        name,
        `SELECT * FROM read_parquet([${list}], union_by_name = true)`,
      );
      archive.replace(small, [merged]);
    }
  }

  async #writeFile(
    environment: string,
    hour: string,
    name: string,
    select: string,
  ): Promise<ArchiveFile> {
    const { archive, database } = this.#options;
    const { order, rowGroupRows } = this.#table;
    const path = archive.place(this.signal, environment, hour, name);
    const whole = join(archive.dir, path);
    const copy =
      `COPY (${select} ORDER BY ${order}) TO ${quoted(whole)} ` +
      `(FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, ROW_GROUP_SIZE ${rowGroupRows})`;
    await database.write(copy).catch((error: unknown) => {
      // Half a file, where there was no room for the whole one, would take what is left.
      rmSync(whole, { force: true });
      throw error;
    });
    const [found] = await database.read(
      `SELECT count(*)::DOUBLE AS n, epoch_ms(min(time))::DOUBLE AS first, epoch_ms(max(time))::DOUBLE AS last FROM read_parquet(${quoted(whole)})`,
    );
    return {
      signal: this.signal,
      environment,
      hour,
      path,
      rows: Number(found?.["n"]),
      bytes: statSync(whole).size,
      from: Number(found?.["first"]),
      to: Number(found?.["last"]) + 1,
    };
  }
}

const namesOf = ({ columns }: Table): string[] => columns.map(({ name }) => name);

/** As they are read from files. */
const columnsOf = ({ columns, ofEarlier }: Table): string[] =>
  columns.map(({ name }) =>
    ofEarlier?.[name] === undefined ? name : `coalesce(${name}, ${ofEarlier[name]}) AS ${name}`,
  );

/** Lines of a journal that are records. */
function linesIn(file: string): number {
  const bytes = readFileSync(file);
  const mark = MARK.charCodeAt(0);
  let lines = 0;
  for (let at = 0; at < bytes.length; ) {
    if (bytes[at] !== mark && bytes[at] !== NEWLINE) lines += 1;
    const end = bytes.indexOf(NEWLINE, at);
    if (end < 0) break;
    at = end + 1;
  }
  return lines;
}

const hourOf = (ms: number): string => new Date(ms).toISOString().slice(0, 13);

const nameOf = (file: ArchiveFile | undefined): string =>
  file?.path.split("/").at(-1)?.replace(".parquet", "").split(".")[0] ?? "";
