// What waits to be sent, as files: it survives whoever sends, and is bounded. First in, first out.

import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { isDiskFull } from "../../kernel/error.ts";
import { keepBytes } from "../store/durable-file.ts";

export interface Parcel {
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
  #evicted = 0;

  constructor(dir: string, maxBytes: number) {
    this.#dir = dir;
    this.#maxBytes = maxBytes;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    for (const file of readdirSync(dir).sort()) {
      const [, number, records] = NAME.exec(file) ?? [];
      if (number === undefined) {
        // Half of one: whoever wrote it was killed.
        rmSync(join(dir, file), { force: true });
        continue;
      }
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

  /** Records that had to go for newer ones. */
  get evicted(): number {
    return this.#evicted;
  }

  /**
   * Keeps it. The oldest go for it where more waits than may, or the disk is full.
   *
   * @throws the system's error where there is no room even so
   */
  add(records: number, body: Uint8Array): void {
    const bytes = onDisk(body.length);
    while (this.#bytes + bytes > this.#maxBytes && this.#evict());
    const file = `${String(this.#next++).padStart(15, "0")}-${records}.otlp.gz`;
    this.#write(join(this.#dir, file), body);
    this.#push({ file, records, bytes });
  }

  #write(path: string, body: Uint8Array): void {
    try {
      keepBytes(path, body);
    } catch (error) {
      if (!isDiskFull(error) || !this.#evict()) throw error;
      this.#write(path, body);
    }
  }

  /** The oldest; undefined where nothing waits. */
  peek(): Parcel | undefined {
    return this.#parcels[0];
  }

  read({ file }: Parcel): Buffer {
    return readFileSync(join(this.#dir, file));
  }

  /** It is dealt with. False where it had to go before that. */
  remove(parcel: Parcel): boolean {
    if (this.#parcels[0] !== parcel) return false;
    this.#shift();
    return true;
  }

  #evict(): boolean {
    const gone = this.#shift();
    this.#evicted += gone?.records ?? 0;
    return gone !== undefined;
  }

  #shift(): Parcel | undefined {
    const parcel = this.#parcels.shift();
    if (!parcel) return undefined;
    this.#bytes -= parcel.bytes;
    this.#records -= parcel.records;
    rmSync(join(this.#dir, parcel.file), { force: true });
    return parcel;
  }

  #push(parcel: Parcel): void {
    this.#parcels.push(parcel);
    this.#bytes += parcel.bytes;
    this.#records += parcel.records;
  }
}
