// The head of the audit chain beside the database, synced before a write counts as done: a database
// that lost the end of what it acknowledged can't know that by itself. Two records take turns, so
// that one is whole whatever happens to the other.

import { createHash } from "node:crypto";
import { closeSync, existsSync, fdatasyncSync, openSync, readFileSync, writeSync } from "node:fs";

export interface AuditHead {
  readonly seq: number;
  readonly hash: string;
}

const RECORD_BYTES = 256;

export class AuditHeadFile {
  readonly #path: string;
  #file: number | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** The newest whole record; undefined where there is none. */
  read(): AuditHead | undefined {
    if (!existsSync(this.#path)) return undefined;
    const text = readFileSync(this.#path, "latin1");
    return [0, 1]
      .flatMap((turn) => parse(text.slice(turn * RECORD_BYTES, (turn + 1) * RECORD_BYTES)) ?? [])
      .toSorted((one, other) => other.seq - one.seq)[0];
  }

  keep({ seq, hash }: AuditHead): void {
    this.#file ??= openSync(this.#path, existsSync(this.#path) ? "r+" : "w+", 0o600);
    const body = `${seq} ${hash}`;
    const record = `${body} ${checksum(body)}`.padEnd(RECORD_BYTES - 1);
    writeSync(this.#file, `${record}\n`, (seq % 2) * RECORD_BYTES, "latin1");
    fdatasyncSync(this.#file);
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}

function parse(record: string): AuditHead | undefined {
  const [seq = "", hash = "", sum] = record.trim().split(" ");
  if (sum !== checksum(`${seq} ${hash}`)) return undefined;
  return { seq: Number(seq), hash };
}

const checksum = (text: string): string =>
  createHash("sha256").update(text).digest("hex").slice(0, 16);
