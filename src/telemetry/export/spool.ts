// What waits to be sent, as files: it survives whoever sends, and is bounded. First in, first out.

import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { keepBytes } from "../store/durable-file.ts";

interface Parcel {
  readonly file: string;
  readonly records: number;
  /** As it lies on disk: in whole blocks. */
  readonly bytes: number;
}

const NAME = /^(\d{15})-(\d+)\.otlp\.gz$/;
const BLOCK_BYTES = 4_096;
const onDisk = (bytes: number): number => Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;

export class Spool {
  readonly #dir: string;
  readonly #maxBytes: number;
  readonly #parcels: Parcel[] = [];
  #next = 1;
  #bytes = 0;
  #records = 0;

  constructor(dir: string, maxBytes: number) {
    this.#dir = dir;
    this.#maxBytes = maxBytes;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    for (const file of readdirSync(dir).sort()) {
      const [, number, records] = NAME.exec(file) ?? [];
      if (number === undefined) continue;
      this.#next = Number(number) + 1;
      this.#push({ file, records: Number(records), bytes: onDisk(statSync(join(dir, file)).size) });
    }
  }

  get bytes(): number {
    return this.#bytes;
  }

  get records(): number {
    return this.#records;
  }

  /** Keeps it; returns how many records of the oldest had to go for it. */
  add(records: number, body: Uint8Array): number {
    const bytes = onDisk(body.length);
    let gone = 0;
    while (this.#parcels.length > 0 && this.#bytes + bytes > this.#maxBytes) gone += this.shift();
    const file = `${String(this.#next++).padStart(15, "0")}-${records}.otlp.gz`;
    keepBytes(join(this.#dir, file), body);
    this.#push({ file, records, bytes });
    return gone;
  }

  /** The oldest; undefined where nothing waits. */
  peek(): Buffer | undefined {
    const [parcel] = this.#parcels;
    return parcel && readFileSync(join(this.#dir, parcel.file));
  }

  /** The oldest is dealt with; returns its records. */
  shift(): number {
    const parcel = this.#parcels.shift();
    if (!parcel) return 0;
    this.#bytes -= parcel.bytes;
    this.#records -= parcel.records;
    rmSync(join(this.#dir, parcel.file), { force: true });
    return parcel.records;
  }

  #push(parcel: Parcel): void {
    this.#parcels.push(parcel);
    this.#bytes += parcel.bytes;
    this.#records += parcel.records;
  }
}
