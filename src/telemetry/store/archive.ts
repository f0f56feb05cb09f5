// Which Parquet files there are, and up to which batch they hold the journals. One small file says
// it, replaced as a whole: rows move from a journal to a Parquet file, or from many files to one, at
// the moment it is replaced, and never count twice or not at all.
//
// A file lies in `<signal>/<environment>/<hour>/`: what is asked for by time, kept or dropped by age
// and environment, is found by its path.

import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { SIGNALS, type Signal } from "../../kernel/signal.ts";
import { keepFile, readKept, syncPath } from "./durable-file.ts";

export interface ArchiveFile {
  readonly signal: Signal;
  readonly environment: string;
  /** `2026-11-21T10`, UTC. */
  readonly hour: string;
  /** Below the archive's folder. */
  readonly path: string;
  readonly rows: number;
  readonly bytes: number;
  /** Time of its first and last row, ms. */
  readonly from: number;
  readonly to: number;
}

interface Content {
  readonly version: 1;
  /** Batches up to this one are in the files. */
  readonly through: Readonly<Record<string, number>>;
  /** Log file → up to which byte its lines are in the files. */
  readonly offsets: Readonly<Record<string, number>>;
  readonly files: readonly ArchiveFile[];
}

const EMPTY: Content = { version: 1, through: {}, offsets: {}, files: [] };
/** A question that began before a file was replaced may still read it. */
const LINGER_MS = 60_000;

export class Archive {
  readonly dir: string;
  #content: Content;

  constructor(dir: string) {
    this.dir = dir;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const content = readKept<Content>(this.#file) ?? EMPTY;
    // One that had to make room at once may not have been able to say so.
    const files = content.files.filter((file) => existsSync(join(dir, file.path)));
    this.#content = { ...content, files };
    this.#removeStrays();
  }

  through(signal: Signal): number {
    return this.#content.through[signal] ?? 0;
  }

  files(signal: Signal): readonly ArchiveFile[] {
    return this.#content.files.filter((file) => file.signal === signal);
  }

  allFiles(): readonly ArchiveFile[] {
    return this.#content.files;
  }

  pathOf(file: ArchiveFile): string {
    return join(this.dir, file.path);
  }

  /** Where a file of that name is to be written, below the archive's folder. */
  place(signal: Signal, environment: string, hour: string, name: string): string {
    const folder = join(signal, environment, hour);
    mkdirSync(join(this.dir, folder), { recursive: true, mode: 0o700 });
    return join(folder, `${name}.parquet`);
  }

  get offsets(): Readonly<Record<string, number>> {
    return this.#content.offsets;
  }

  /** From here on the rows of batches up to `through` are those of `added`. */
  settle(
    signal: Signal,
    through: number,
    added: readonly ArchiveFile[],
    offsets: Readonly<Record<string, number>> = this.offsets,
  ): void {
    for (const file of added) syncPath(this.pathOf(file));
    this.#keep({
      ...this.#content,
      offsets,
      through: { ...this.#content.through, [signal]: through },
      files: [...this.#content.files, ...added],
    });
  }

  /** `added` holds what `replaced` held; what is replaced by nothing is forgotten. */
  replace(replaced: readonly ArchiveFile[], added: readonly ArchiveFile[]): void {
    for (const file of added) syncPath(this.pathOf(file));
    const gone = new Set(replaced.map(({ path }) => path));
    this.#keep({
      ...this.#content,
      files: [...this.#content.files.filter(({ path }) => !gone.has(path)), ...added],
    });
    const remove = (): void => {
      for (const path of gone) rmSync(join(this.dir, path), { force: true });
    };
    setTimeout(remove, LINGER_MS).unref();
  }

  /** On a full disk: the oldest file goes, at once, and is said. Undefined where there is none. */
  dropOldest(): ArchiveFile | undefined {
    const [oldest] = this.#content.files.toSorted((a, b) => a.to - b.to);
    if (oldest === undefined) return undefined;
    const files = this.#content.files.filter((file) => file !== oldest);
    this.#content = { ...this.#content, files };
    rmSync(this.pathOf(oldest), { force: true });
    try {
      this.#keep(this.#content);
    } catch {
      // Still no room: what is not there is left out at the next start.
    }
    return oldest;
  }

  get #file(): string {
    return join(this.dir, "archive.json");
  }

  #keep(content: Content): void {
    keepFile(this.#file, JSON.stringify(content));
    this.#content = content;
  }

  // Written by one that was killed before it could say so, or replaced and not yet removed.
  #removeStrays(): void {
    const known = new Set(this.#content.files.map(({ path }) => path));
    for (const signal of SIGNALS) {
      const folder = join(this.dir, signal);
      if (!existsSync(folder)) continue;
      for (const entry of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
        const path = relative(this.dir, join(folder, entry));
        if (statSync(join(folder, entry)).isFile() && !known.has(path))
          rmSync(join(folder, entry), { force: true });
      }
    }
  }
}
