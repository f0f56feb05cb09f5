// Collects what instances write to their own files: stamps it with time, release and instance, and
// gives the disk space of what was read back to the system, without the writer noticing.
//
// How far a file was read is kept with its lines, in one append: after a crash the collector goes on
// exactly where the store stopped. What an app writes faster than its share is read later; what it
// is too far behind with is passed over, counted, and said in its own log.

import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
} from "node:fs";
import { join } from "node:path";
import { type LogSource, PLATFORM } from "../kernel/signal.ts";
import { type LogRecord, logLine, type MonotonicClock } from "./log-journal.ts";

export interface LogCollectorOptions {
  /** `<name>.log` is written by an instance, `<name>.log.json` says whose it is. */
  readonly dir: string;
  /** Log file → up to which byte the store has its lines. */
  readonly offsets: Readonly<Record<string, number>>;
  /** Resolves once the lines and how far their file was read are on disk. */
  readonly append: (lines: string, mark: string) => Promise<void>;
  readonly clock: MonotonicClock;
  readonly now: () => number;
  /** Frees the first `bytes` of a file; its length and the writer stay as they are. */
  readonly punchHole: (path: string, bytes: number) => Promise<void>;
  readonly onSkipped: (app: string, bytes: number) => void;
}

const POLL_MS = 250;
const READ_BYTES = 1024 ** 2;
/** What one app may have collected between two looks; the others' turn comes before more of it. */
const SHARE_BYTES = 8 * READ_BYTES;
/** Further behind than this, the oldest lines are passed over. */
const BEHIND_MAX_BYTES = 256 * READ_BYTES;
/** A line is cut here, so that one without an end can't hold everything up. */
const LINE_MAX_BYTES = 256 * 1024;
/** At the end of a part of a line that was cut. */
const GOES_ON = " … (holdfast: the line goes on)";
const PUNCH_EVERY_BYTES = 4 * READ_BYTES;
/** Beyond what it holds: file systems take some room ahead, and an app can take all of it (`fallocate`). */
const EXCESS_BYTES = 256 * READ_BYTES;
const BLOCK_BYTES = 512;
/** A line without an end may still go on for so long, also where its source is said to have ended. */
const OPEN_LINE_MS = 2_000;
/** A source that ended stays this long for the last look of a failed deploy. */
const ENDED_KEEP_MS = 10 * 60_000;

export class LogCollector {
  readonly #options: LogCollectorOptions;
  readonly #offsets: Map<string, number>;
  readonly #punched = new Map<string, number>();
  readonly #sources = new Map<string, LogSource>();
  #timer: NodeJS.Timeout | undefined;
  #collecting: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(options: LogCollectorOptions) {
    this.#options = options;
    this.#offsets = new Map(Object.entries(options.offsets));
  }

  start(onProblem: (error: unknown) => void): void {
    this.#timer = setInterval(() => void this.collect().catch(onProblem), POLL_MS);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#collecting?.catch(() => undefined);
  }

  /** Resolves once everything that was written before this call is kept. */
  collect(): Promise<void> {
    if (this.#collecting === undefined) {
      this.#collecting = this.#collectAll().finally(() => {
        this.#collecting = undefined;
      });
      return this.#collecting;
    }
    // The look that is under way may have passed the file already.
    this.#next ??= this.#collecting
      .catch(() => undefined)
      .then(() => {
        this.#next = undefined;
        return this.collect();
      });
    return this.#next;
  }

  async #collectAll(): Promise<void> {
    if (!existsSync(this.#options.dir)) return;
    const files = readdirSync(this.#options.dir).filter((file) => file.endsWith(".log"));
    const byApp = Map.groupBy(files, (file) => this.#sourceOf(file)?.app ?? "");
    const failures: unknown[] = [];
    // Apps beside each other: their appends share a sync, and none waits for another's.
    const each = async (app: string, ofApp: readonly string[]): Promise<void> => {
      let share = SHARE_BYTES;
      for (const file of app === "" ? [] : ofApp) share -= await this.#collectOne(file, share);
    };
    await Promise.all(
      [...byApp].map(([app, ofApp]) => each(app, ofApp).catch((error) => failures.push(error))),
    );
    if (failures.length > 0) throw failures[0];
  }

  /** Gives the bytes that it collected. */
  async #collectOne(file: string, share: number): Promise<number> {
    const path = join(this.#options.dir, file);
    const { size, mtimeMs, blocks } = statSync(path);
    const held = size - (this.#punched.get(file) ?? 0);
    // The end stays where it is; only room behind it goes.
    if (blocks * BLOCK_BYTES > held + EXCESS_BYTES) truncateSync(path, size);
    const begin = this.#offsets.get(file) ?? 0;
    const source = this.#sourceOf(file);
    if (!source) return 0;
    const quietMs = this.#options.now() - mtimeMs;
    if (size <= begin) {
      if (quietMs > ENDED_KEEP_MS) this.#dropEnded(file, path);
      return 0;
    }
    let offset = await this.#passOver(file, source, begin, size);
    while (offset < size && offset - begin < share) {
      // Nothing more comes to a line that was left open by who is gone.
      const isLast = (): boolean => quietMs > OPEN_LINE_MS && this.#hasEnded(file);
      const { texts, end } = readChunk(path, offset, size, isLast);
      if (end === offset) break;
      await this.#append(file, source, texts, end);
      offset = end;
    }
    await this.#free(file, path, offset);
    return offset - begin;
  }

  async #passOver(file: string, source: LogSource, begin: number, size: number): Promise<number> {
    const behind = size - begin;
    if (behind <= BEHIND_MAX_BYTES) return begin;
    const end = size - BEHIND_MAX_BYTES / 2;
    this.#options.onSkipped(source.app, end - begin);
    const text = `holdfast: ${end - begin} bytes of output were passed over: written faster than they could be kept`;
    await this.#append(file, source, [text], end, "warn");
    return end;
  }

  async #append(
    file: string,
    source: LogSource,
    texts: readonly string[],
    end: number,
    level = "",
  ): Promise<void> {
    const { append, clock } = this.#options;
    const record = recordOf(source, level);
    const first = clock.take(texts.length);
    const lines = texts.map((text, index) => logLine(record, first + index, text)).join("");
    await append(lines, JSON.stringify({ [file]: end }));
    this.#offsets.set(file, end);
  }

  #sourceOf(file: string): LogSource | undefined {
    const known = this.#sources.get(file);
    if (known) return known;
    const path = join(this.#options.dir, `${file}.json`);
    if (!existsSync(path)) return undefined;
    const source = JSON.parse(readFileSync(path, "utf8")) as LogSource;
    this.#sources.set(file, source);
    return source;
  }

  async #free(file: string, path: string, offset: number): Promise<void> {
    if (offset - (this.#punched.get(file) ?? 0) < PUNCH_EVERY_BYTES) return;
    // The last lines stay readable in place: they are shown when an instance fails.
    await this.#options.punchHole(path, offset - READ_BYTES);
    this.#punched.set(file, offset);
  }

  #hasEnded(file: string): boolean {
    this.#sources.delete(file);
    return this.#sourceOf(file)?.ended === true;
  }

  #dropEnded(file: string, path: string): void {
    if (!this.#hasEnded(file)) return;
    rmSync(path, { force: true });
    rmSync(`${path}.json`, { force: true });
    for (const map of [this.#offsets, this.#punched, this.#sources]) map.delete(file);
  }
}

/** `engine/postgres.production` is the engine postgres of the environment production. */
function recordOf({ app, service, release, instance }: LogSource, level: string): LogRecord {
  const [first = "", second = ""] = app.split("/");
  if (first !== "engine")
    return { environment: first, app: second, service, release, instance, level };
  const [engine = "", environment = PLATFORM] = second.split(".");
  return { environment, app: "", service: engine, release: 0, instance: engine, level };
}

/**
 * Whole lines from `offset` on; a line without an end yet is left for the next time, unless it is the
 * last of all. What is cut says so.
 */
function readChunk(
  path: string,
  offset: number,
  size: number,
  isLast: () => boolean,
): { texts: string[]; end: number } {
  const buffer = readAt(path, offset, Math.min(READ_BYTES, size - offset));
  const texts: string[] = [];
  let start = 0;
  while (start < buffer.length) {
    const newline = buffer.indexOf(10, start);
    const bytes = newline < 0 ? buffer.length - start : newline - start;
    const isOpen = newline < 0 && bytes < LINE_MAX_BYTES;
    if (isOpen && !(offset + buffer.length === size && isLast())) break;
    const cut = Math.min(bytes, LINE_MAX_BYTES);
    const text = buffer.toString("utf8", start, start + cut);
    texts.push(cut < bytes || (newline < 0 && !isOpen) ? `${text}${GOES_ON}` : text);
    start += cut < bytes || newline < 0 ? cut : cut + 1;
  }
  return { texts, end: offset + start };
}

function readAt(path: string, offset: number, bytes: number): Buffer {
  const buffer = Buffer.allocUnsafe(bytes);
  const file = openSync(path, "r");
  try {
    return buffer.subarray(0, readSync(file, buffer, 0, bytes, offset));
  } finally {
    closeSync(file);
  }
}
