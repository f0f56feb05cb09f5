// What waits to be sent, as files: it survives whoever sends, and is bounded. First in, first out.

import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { OtlpSignal } from "../otlp/messages.ts";
import { keepBytes } from "../store/durable-file.ts";

export interface Parcel {
  readonly file: string;
  readonly signal: OtlpSignal;
  readonly records: number;
  readonly bytes: number;
}

const NAME = /^(\d{15})-(traces|logs|metrics)-(\d+)\.otlp\.gz$/;

export class Spool {
  readonly #dir: string;
  readonly #maxBytes: number;
  readonly #parcels: Parcel[];
  #next: number;

  constructor(dir: string, maxBytes: number) {
    this.#dir = dir;
    this.#maxBytes = maxBytes;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    this.#parcels = readdirSync(dir)
      .sort()
      .flatMap((file): Parcel[] => {
        const [, , signal, records] = NAME.exec(file) ?? [];
        if (signal === undefined) return [];
        const { size } = statSync(join(dir, file));
        return [{ file, signal: signal as OtlpSignal, records: Number(records), bytes: size }];
      });
    this.#next = Number(NAME.exec(this.#parcels.at(-1)?.file ?? "")?.[1] ?? 0) + 1;
  }

  get bytes(): number {
    return this.#parcels.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  get records(): number {
    return this.#parcels.reduce((sum, { records }) => sum + records, 0);
  }

  /** Keeps it; returns how many records of the oldest had to go for it. */
  add(signal: OtlpSignal, records: number, body: Uint8Array): number {
    let gone = 0;
    while (this.#parcels.length > 0 && this.bytes + body.length > this.#maxBytes) {
      gone += this.#parcels[0]?.records ?? 0;
      this.shift();
    }
    const file = `${String(this.#next++).padStart(15, "0")}-${signal}-${records}.otlp.gz`;
    keepBytes(join(this.#dir, file), body);
    this.#parcels.push({ file, signal, records, bytes: body.length });
    return gone;
  }

  /** The oldest, with what is in it; undefined where nothing waits. */
  peek(): { readonly parcel: Parcel; readonly body: Buffer } | undefined {
    const [parcel] = this.#parcels;
    return parcel && { parcel, body: readFileSync(join(this.#dir, parcel.file)) };
  }

  /** The oldest is dealt with. */
  shift(): void {
    const parcel = this.#parcels.shift();
    if (parcel) rmSync(join(this.#dir, parcel.file), { force: true });
  }
}
