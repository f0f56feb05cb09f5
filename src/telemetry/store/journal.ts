// What arrives is on disk before anybody is told that it arrived. A journal is a folder of batches;
// each is appended to, synced, and never changed once the next one began. An append ends in a mark:
// after a crash everything behind the last mark is cut off, so that it counts whole or not at all.

import {
  closeSync,
  fdatasync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

/** Begins the line that ends an append; never part of what is appended. */
export const MARK = "\u001e";
/** Between two values of a line; never part of a value. */
export const SEPARATOR = "\u001f";

const syncData = promisify(fdatasync);
const NEWLINE = 10;
const SUFFIX = ".journal";
const BATCH_MAX_BYTES = 16 * 1024 ** 2;

interface Pending {
  readonly text: string;
  readonly mark: string;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

interface Batch {
  readonly number: number;
  readonly file: number;
  bytes: number;
}

export class Journal {
  readonly #dir: string;
  #open: Batch | undefined;
  #last: number;
  #pending: Pending[] = [];
  #sealing: (() => void)[] = [];
  #writing: Promise<void> | undefined;

  /** `after`: no batch gets a number up to this one again. */
  constructor(dir: string, after: number) {
    this.#dir = dir;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    for (const number of this.batches()) cutTornEnd(this.fileOf(number));
    this.#last = Math.max(after, ...this.batches());
  }

  /**
   * Resolves once the lines are on disk. Concurrent appends share one sync.
   *
   * @param text whole lines, each with its newline
   * @param mark kept with them: one line, for instance how far a source was read
   */
  append(text: string, mark = ""): Promise<void> {
    const done = new Promise<void>((resolve, reject) => {
      this.#pending.push({ text, mark, resolve, reject });
    });
    this.#writing ??= this.#write();
    return done;
  }

  /** Ends the open batch; whatever is appended from now on is in another one. */
  async seal(): Promise<void> {
    if (this.#writing === undefined) return this.#close();
    // Between two syncs: waiting for a moment without appends could take for ever.
    return new Promise((resolve) => this.#sealing.push(resolve));
  }

  /** Numbers of the batches that are on disk, oldest first, the open one included. */
  batches(): number[] {
    return readdirSync(this.#dir)
      .filter((file) => file.endsWith(SUFFIX))
      .map((file) => Number.parseInt(file, 10))
      .sort((a, b) => a - b);
  }

  /** Numbers of the batches that nothing is appended to any more. */
  sealed(): number[] {
    return this.batches().filter((number) => number !== this.#open?.number);
  }

  fileOf(batch: number): string {
    return join(this.#dir, `${String(batch).padStart(12, "0")}${SUFFIX}`);
  }

  /** What the marks of a batch say, oldest first. */
  marksOf(batch: number): string[] {
    return readFileSync(this.fileOf(batch), "utf8")
      .split("\n")
      .filter((line) => line.startsWith(MARK))
      .map((line) => line.slice(MARK.length));
  }

  drop(upTo: number): void {
    for (const batch of this.sealed()) if (batch <= upTo) rmSync(this.fileOf(batch));
  }

  async #write(): Promise<void> {
    // Whoever appends in this turn of the event loop is written and synced together.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#pending.length > 0) {
      const pending = this.#pending;
      this.#pending = [];
      try {
        const batch = this.#batch();
        this.#writeAll(batch, pending);
        await syncData(batch.file);
        for (const { resolve } of pending) resolve();
        if (batch.bytes > BATCH_MAX_BYTES) this.#close();
      } catch (error) {
        for (const { reject } of pending) reject(error as Error);
      }
      this.#sealNow();
    }
    this.#sealNow();
    this.#writing = undefined;
  }

  #writeAll(batch: Batch, pending: readonly Pending[]): void {
    const bytes = Buffer.from(
      pending.map(({ text, mark }) => `${text}${MARK}${mark}\n`).join(""),
      "utf8",
    );
    try {
      let written = 0;
      while (written < bytes.length) written += writeSync(batch.file, bytes, written);
    } catch (error) {
      // Half an append, on a full disk: taken back, so that what follows begins on a new line.
      ftruncateSync(batch.file, batch.bytes);
      throw error;
    }
    batch.bytes += bytes.length;
  }

  #sealNow(): void {
    if (this.#sealing.length === 0) return;
    this.#close();
    for (const resolve of this.#sealing.splice(0)) resolve();
  }

  #batch(): Batch {
    if (this.#open) return this.#open;
    const number = this.#last + 1;
    const file = openSync(this.fileOf(number), "a", 0o600);
    this.#last = number;
    this.#open = { number, file, bytes: 0 };
    return this.#open;
  }

  #close(): void {
    if (this.#open) closeSync(this.#open.file);
    this.#open = undefined;
  }
}

function cutTornEnd(path: string): void {
  const bytes = readFileSync(path);
  truncateSync(path, wholeBytes(bytes));
}

/** Up to the end of the last mark that is there whole. */
function wholeBytes(bytes: Buffer): number {
  let end = bytes.length;
  while (end > 0) {
    const start = end < 2 ? 0 : bytes.lastIndexOf("\n", end - 2) + 1;
    if (bytes[end - 1] === NEWLINE && bytes[start] === MARK.charCodeAt(0)) return end;
    end = start;
  }
  return 0;
}
