// Log lines of every app, across releases and restarts: one folder per app, in it files of bounded
// size in order of time. Each line keeps where in its source it ended, so that a collector that was
// killed goes on exactly where the store stopped.

import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { LogLine } from "../kernel/signal.ts";

export interface StoredLine extends LogLine {
  readonly source: string;
  /** Where in the source the line ends, in bytes. */
  readonly offset: number;
}

export interface LogFilter {
  readonly app?: string | undefined;
  readonly service?: string | undefined;
  readonly instance?: string | undefined;
  readonly since: number;
}

const SEGMENT_BYTES = 8 * 1024 ** 2;
const KEEP_BYTES_PER_APP = 128 * 1024 ** 2;
const KEEP_MS = 14 * 24 * 3_600_000;

export class LogStore {
  readonly #dir: string;
  readonly #now: () => number;
  readonly #followers = new Set<(lines: readonly StoredLine[]) => void>();
  /** App → the segment that is written to. */
  readonly #open = new Map<string, { path: string; bytes: number }>();
  #dropped = 0;

  constructor(dir: string, now: () => number) {
    this.#dir = dir;
    this.#now = now;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  }

  get dropped(): number {
    return this.#dropped;
  }

  /** All lines belong to one app. */
  append(lines: readonly StoredLine[]): void {
    const [first] = lines;
    if (!first) return;
    const text = `${lines.map((line) => JSON.stringify(line)).join("\n")}\n`;
    try {
      const segment = this.#segmentFor(first.app, text.length);
      appendFileSync(segment.path, text, { mode: 0o600 });
      segment.bytes += text.length;
    } catch {
      // Full disk: what can't be kept is counted, and the oldest make room.
      this.#dropped += lines.length;
      this.#trim(first.app, KEEP_BYTES_PER_APP / 2);
    }
    for (const follower of this.#followers) follower(lines);
  }

  /** The last `limit` lines that match, oldest first. */
  read(filter: LogFilter, limit: number): StoredLine[] {
    const apps = filter.app === undefined ? this.#apps() : [folderOf(filter.app)];
    const found = apps.flatMap((app) => this.#readApp(app, filter, limit));
    return found.sort((a, b) => a.time - b.time).slice(-limit);
  }

  follow(filter: LogFilter, onLines: (lines: readonly StoredLine[]) => void): () => void {
    const follower = (lines: readonly StoredLine[]): void => {
      const matching = lines.filter((line) => matches(line, filter));
      if (matching.length > 0) onLines(matching);
    };
    this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  }

  /** Remembers how far sources were read: a quiet one's last line may be in no recent segment. */
  saveOffsets(offsets: ReadonlyMap<string, number>): void {
    const beside = `${this.#offsetsFile}.new`;
    try {
      writeFileSync(beside, JSON.stringify([...offsets]), { mode: 0o600 });
      renameSync(beside, this.#offsetsFile);
    } catch {
      // Full disk: the lines themselves say it, as far back as they are read.
    }
  }

  get #offsetsFile(): string {
    return `${this.#dir}.offsets.json`;
  }

  /** Source → up to where its lines are in the store. */
  recoverOffsets(): Map<string, number> {
    const offsets = new Map<string, number>(
      existsSync(this.#offsetsFile) ? JSON.parse(readFileSync(this.#offsetsFile, "utf8")) : [],
    );
    for (const app of this.#apps()) {
      for (const segment of this.#segments(app).slice(-2)) {
        for (const line of readLines(join(this.#dir, app, segment))) {
          offsets.set(line.source, Math.max(line.offset, offsets.get(line.source) ?? 0));
        }
      }
    }
    return offsets;
  }

  #readApp(app: string, filter: LogFilter, limit: number): StoredLine[] {
    let found: StoredLine[] = [];
    for (const segment of this.#segments(app).toReversed()) {
      const lines = readLines(join(this.#dir, app, segment)).filter((line) =>
        matches(line, filter),
      );
      found = [...lines, ...found];
      if (found.length >= limit || Number.parseInt(segment, 10) < filter.since) break;
    }
    return found.slice(-limit);
  }

  #segmentFor(app: string, bytes: number): { path: string; bytes: number } {
    const folder = folderOf(app);
    const open = this.#open.get(folder) ?? this.#lastSegment(folder);
    if (open && open.bytes + bytes <= SEGMENT_BYTES) {
      this.#open.set(folder, open);
      return open;
    }
    mkdirSync(join(this.#dir, folder), { recursive: true, mode: 0o700 });
    this.#trim(app, KEEP_BYTES_PER_APP);
    const fresh = { path: join(this.#dir, folder, `${this.#now()}.ndjson`), bytes: 0 };
    this.#open.set(folder, fresh);
    return fresh;
  }

  #lastSegment(folder: string): { path: string; bytes: number } | undefined {
    const last = this.#segments(folder).at(-1);
    if (last === undefined) return undefined;
    const path = join(this.#dir, folder, last);
    return { path, bytes: statSync(path).size };
  }

  #trim(app: string, keepBytes: number): void {
    const folder = folderOf(app);
    let bytes = 0;
    for (const segment of this.#segments(folder).toReversed()) {
      const path = join(this.#dir, folder, segment);
      bytes += statSync(path).size;
      const isOld = this.#now() - statSync(path).mtimeMs > KEEP_MS;
      if (bytes > keepBytes || isOld) rmSync(path, { force: true });
    }
  }

  #apps(): string[] {
    return readdirSync(this.#dir);
  }

  #segments(folder: string): string[] {
    const path = join(this.#dir, folder);
    return existsSync(path)
      ? readdirSync(path)
          .filter((file) => file.endsWith(".ndjson"))
          .sort()
      : [];
  }
}

const folderOf = (app: string): string => app.replaceAll("/", ".");

function matches(line: StoredLine, { app, service, instance, since }: LogFilter): boolean {
  return (
    line.time >= since &&
    (app === undefined || line.app === app) &&
    (service === undefined || line.service === service) &&
    (instance === undefined || line.instance === instance)
  );
}

// The last line of a segment may be half written after a crash: it is collected again.
function readLines(path: string): StoredLine[] {
  return readFileSync(path, "utf8")
    .split("\n")
    .flatMap((text) => {
      try {
        return text ? [JSON.parse(text) as StoredLine] : [];
      } catch {
        return [];
      }
    });
}
