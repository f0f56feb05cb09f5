// Sends one environment's telemetry onward to one place: a lane for each signal, and how far rows of
// the store were taken in. At least once, as OTLP has it.

import { join } from "node:path";
import type { ExportState, ExportTarget } from "../../kernel/signal.ts";
import type { OtlpRequests, OtlpSignal } from "../otlp/messages.ts";
import { keepFile, readKept } from "../store/durable-file.ts";
import { Lane } from "./lane.ts";

export class Exporter {
  readonly #dir: string;
  readonly #lanes: { readonly [S in OtlpSignal]: Lane<S> };
  /** Table → the batch up to which its rows were taken in. */
  readonly #positions: Record<string, number>;
  #target: ExportTarget;
  #isClosed = false;

  constructor(
    dir: string,
    target: ExportTarget,
    onLost: (signal: OtlpSignal, records: number) => void,
  ) {
    this.#dir = dir;
    this.#target = target;
    const lane = <S extends OtlpSignal>(signal: S): Lane<S> =>
      new Lane(
        join(dir, signal),
        signal,
        () => this.#target,
        (records) => onLost(signal, records),
      );
    this.#lanes = { logs: lane("logs"), traces: lane("traces"), metrics: lane("metrics") };
    this.#positions = readKept<Record<string, number>>(join(dir, "positions.json")) ?? {};
    for (const one of this.#all) one.retry();
  }

  get target(): ExportTarget {
    return this.#target;
  }

  set target(target: ExportTarget) {
    if (JSON.stringify(target) === JSON.stringify(this.#target)) return;
    this.#target = target;
    // Perhaps it was the address that was wrong.
    for (const one of this.#all) one.retry();
  }

  state(): ExportState {
    const states = this.#all.map((one) => one.state);
    const sum = (key: "sent" | "lost" | "waiting" | "waitingBytes"): number =>
      states.reduce((all, one) => all + one[key], 0);
    const problems = states.flatMap(({ problem }) => problem ?? []);
    return {
      sent: sum("sent"),
      waiting: sum("waiting"),
      waitingBytes: sum("waitingBytes"),
      lost: sum("lost"),
      ...(problems.length > 0 && { problem: problems.join("; ") }),
    };
  }

  position(table: string): number {
    return this.#positions[table] ?? 0;
  }

  /** `isKept`: also after a start. What was passed over without a row of ours can be looked at again. */
  setPosition(table: string, batch: number, isKept: boolean): void {
    if (this.#isClosed) return;
    this.#positions[table] = batch;
    if (!isKept) return;
    keepFile(join(this.#dir, "positions.json"), JSON.stringify(this.#positions));
  }

  /** Resolves once it is on disk, or counted as lost. */
  add<S extends OtlpSignal>(signal: S, records: number, request: OtlpRequests[S]): Promise<void> {
    return this.#lanes[signal].add(records, request);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all(this.#all.map((one) => one.close()));
  }

  get #all(): readonly Pick<Lane, "retry" | "state" | "close">[] {
    return Object.values(this.#lanes);
  }
}
