// Collects what instances write to their own files: stamps it with time, release and instance, and
// gives the disk space of what was read back to the system, without the writer noticing.

import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import type { LogSource } from "../kernel/signal.ts";
import type { LogStore, StoredLine } from "./log-store.ts";

export interface LogCollectorOptions {
  /** `<name>.log` is written by an instance, `<name>.log.json` says whose it is. */
  readonly dir: string;
  readonly store: LogStore;
  readonly now: () => number;
  /** Frees the first `bytes` of a file; its length and the writer stay as they are. */
  readonly punchHole: (path: string, bytes: number) => Promise<void>;
}

const POLL_MS = 250;
/** Less than it takes to fill the segments that are looked into after a loss. */
const SAVE_OFFSETS_MS = 2_000;
const READ_BYTES = 1024 ** 2;
/** A line is cut here, so that one without an end can't hold everything up. */
const LINE_MAX_BYTES = 32 * 1024;
const PUNCH_EVERY_BYTES = 4 * 1024 ** 2;
/** A source that ended stays this long for the last look of a failed deploy. */
const ENDED_KEEP_MS = 10 * 60_000;

export class LogCollector {
  readonly #options: LogCollectorOptions;
  readonly #offsets: Map<string, number>;
  readonly #punched = new Map<string, number>();
  readonly #sources = new Map<string, LogSource>();
  #isCollecting = false;
  #hasRead = false;
  #savedAt = 0;

  constructor(options: LogCollectorOptions) {
    this.#options = options;
    this.#offsets = options.store.recoverOffsets();
  }

  start(): void {
    setInterval(() => void this.collect(), POLL_MS);
  }

  async collect(): Promise<void> {
    if (this.#isCollecting || !existsSync(this.#options.dir)) return;
    this.#isCollecting = true;
    try {
      for (const file of readdirSync(this.#options.dir)) {
        if (file.endsWith(".log")) await this.#collectOne(file);
      }
      this.#saveOffsets();
    } finally {
      this.#isCollecting = false;
    }
  }

  #saveOffsets(): void {
    const now = this.#options.now();
    if (!this.#hasRead || now - this.#savedAt < SAVE_OFFSETS_MS) return;
    this.#options.store.saveOffsets(this.#offsets);
    this.#savedAt = now;
    this.#hasRead = false;
  }

  async #collectOne(file: string): Promise<void> {
    const path = join(this.#options.dir, file);
    const { size, mtimeMs } = statSync(path);
    let offset = this.#offsets.get(file) ?? 0;
    if (size > offset) {
      const source = this.#sourceOf(file);
      if (!source) return;
      while (offset < size) {
        const { lines, end } = readChunk(path, offset, size);
        if (end === offset) break;
        this.#store(source, file, lines);
        offset = end;
        this.#offsets.set(file, offset);
        this.#hasRead = true;
      }
      await this.#free(file, path, offset);
    } else if (this.#options.now() - mtimeMs > ENDED_KEEP_MS) {
      this.#dropEnded(file, path);
    }
  }

  #store(source: LogSource, file: string, lines: readonly { text: string; end: number }[]): void {
    const { app, service, release, instance } = source;
    const time = this.#options.now();
    const stored = lines.map(
      ({ text, end }): StoredLine => ({
        time,
        app,
        service,
        release,
        instance,
        text,
        source: file,
        offset: end,
      }),
    );
    this.#options.store.append(stored);
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

  #dropEnded(file: string, path: string): void {
    this.#sources.delete(file);
    if (!this.#sourceOf(file)?.ended) return;
    rmSync(path, { force: true });
    rmSync(`${path}.json`, { force: true });
    for (const map of [this.#offsets, this.#punched, this.#sources]) map.delete(file);
  }
}

/** Whole lines from `offset` on; a line without an end yet is left for the next time. */
function readChunk(
  path: string,
  offset: number,
  size: number,
): { lines: { text: string; end: number }[]; end: number } {
  const buffer = Buffer.alloc(Math.min(READ_BYTES, size - offset));
  const file = openSync(path, "r");
  try {
    readSync(file, buffer, 0, buffer.length, offset);
  } finally {
    closeSync(file);
  }
  const lines: { text: string; end: number }[] = [];
  let start = 0;
  while (start < buffer.length) {
    const newline = buffer.indexOf(10, start);
    const length = newline < 0 ? buffer.length - start : newline - start;
    if (newline < 0 && length < LINE_MAX_BYTES) break;
    const cut = Math.min(length, LINE_MAX_BYTES);
    const next = cut < length ? start + cut : newline < 0 ? start + cut : newline + 1;
    // Bytes that were given back to the system before a crash read as zeros.
    const text = buffer
      .toString("utf8", start, start + cut)
      .replaceAll("\0", "")
      .replace(/\r$/, "");
    lines.push({ text, end: offset + next });
    start = next;
  }
  return { lines, end: offset + start };
}
