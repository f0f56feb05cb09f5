// Request records as they come from the edge: appended raw, a file per minute, bounded by age and
// size. Nothing is parsed on the way in; a question parses the minutes that it is about.

import {
  appendFileSync,
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
} from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";

export interface RequestLogOptions {
  readonly dir: string;
  readonly socket: string;
  /** Who runs the edge and must reach the socket. */
  readonly edgeUid: number | undefined;
  readonly now: () => number;
  /** Lines that are no record: the edge's own messages. */
  readonly onMessage: (line: string) => void;
}

const MINUTE_MS = 60_000;
const FLUSH_MS = 200;
const FLUSH_BYTES = 256 * 1024;
const KEEP_MS = 3 * 24 * 3_600_000;
const KEEP_BYTES = 1024 ** 3;
const LINE_MAX_BYTES = 64 * 1024;

export class RequestLog {
  readonly #options: RequestLogOptions;
  readonly #server: Server;
  #pending: string[] = [];
  #pendingBytes = 0;
  #timers: NodeJS.Timeout[] = [];
  #lost = 0;

  constructor(options: RequestLogOptions) {
    this.#options = options;
    mkdirSync(options.dir, { recursive: true, mode: 0o700 });
    this.#server = createServer((socket) => {
      let rest = "";
      socket.setEncoding("utf8");
      socket.on("data", (text: string) => {
        const lines = (rest + text).split("\n");
        rest = (lines.pop() ?? "").slice(0, LINE_MAX_BYTES);
        this.#take(lines);
      });
      socket.on("error", () => undefined);
    });
  }

  async listen(): Promise<void> {
    const { socket, edgeUid } = this.#options;
    rmSync(socket, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject).listen(socket, resolve);
    });
    chmodSync(socket, 0o600);
    if (edgeUid !== undefined) chownSync(socket, edgeUid, 0);
    this.#timers = [
      setInterval(() => this.flush(), FLUSH_MS),
      setInterval(() => this.trim(), MINUTE_MS),
    ];
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#server.close();
    this.flush();
  }

  /** Files that hold records from `since` on, oldest first. */
  filesSince(since: number): string[] {
    this.flush();
    return this.#files()
      .filter((file) => minuteOf(file) + MINUTE_MS > since)
      .map((file) => join(this.#options.dir, file));
  }

  /** Records that could not be written: the disk was full. */
  get lost(): number {
    return this.#lost;
  }

  flush(): void {
    if (this.#pending.length === 0) return;
    const lines = this.#pending;
    this.#pending = [];
    this.#pendingBytes = 0;
    const minute = Math.floor(this.#options.now() / MINUTE_MS) * MINUTE_MS;
    try {
      appendFileSync(join(this.#options.dir, `${minute}.tsv`), `${lines.join("\n")}\n`, {
        mode: 0o600,
      });
    } catch {
      this.#lost += lines.length;
      this.trim();
    }
  }

  trim(): void {
    const { dir, now } = this.#options;
    let bytes = 0;
    for (const file of this.#files().toReversed()) {
      bytes += statSync(join(dir, file)).size;
      if (bytes > KEEP_BYTES || now() - minuteOf(file) > KEEP_MS)
        rmSync(join(dir, file), { force: true });
    }
  }

  #take(lines: readonly string[]): void {
    for (const line of lines) {
      if (line.includes("\t")) {
        this.#pending.push(line);
        this.#pendingBytes += line.length;
      } else if (line !== "") {
        this.#options.onMessage(line);
      }
    }
    if (this.#pendingBytes > FLUSH_BYTES) this.flush();
  }

  #files(): string[] {
    return readdirSync(this.#options.dir)
      .filter((file) => /^\d+\.tsv$/.test(file))
      .sort();
  }
}

const minuteOf = (file: string): number => Number.parseInt(file, 10);
