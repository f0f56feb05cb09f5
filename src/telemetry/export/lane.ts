// One signal's way to one place: what waits is on disk, and is sent until it is accepted. A place
// that is away delays; one that refuses what it was sent loses that, counted.

import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { messageOf } from "../../kernel/error.ts";
import type { ExportTarget } from "../../kernel/signal.ts";
import { encodeRequest, type OtlpRequests, type OtlpSignal } from "../otlp/messages.ts";
import { sendTo } from "./send.ts";
import { Spool } from "./spool.ts";

const zip = promisify(gzip);
const SPOOL_MAX_BYTES = 128 * 1024 ** 2;
const BACKOFF_MIN_MS = 1_000;
const BACKOFF_MAX_MS = 60_000;

type LaneTarget = Pick<ExportTarget, "endpoint" | "headers">;

export interface LaneState {
  readonly sent: number;
  readonly lost: number;
  readonly waiting: number;
  readonly waitingBytes: number;
  readonly problem: string | undefined;
}

export class Lane<S extends OtlpSignal = OtlpSignal> {
  readonly #signal: S;
  readonly #spool: Spool;
  readonly #target: () => LaneTarget;
  readonly #closing = new AbortController();
  #sending: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  readonly #onLost: (records: number) => void;
  #sent = 0;
  #lost = 0;
  #problem: string | undefined;

  constructor(dir: string, signal: S, target: () => LaneTarget, onLost: (records: number) => void) {
    this.#signal = signal;
    this.#onLost = onLost;
    this.#spool = new Spool(dir, SPOOL_MAX_BYTES);
    this.#target = target;
  }

  get state(): LaneState {
    return {
      sent: this.#sent,
      lost: this.#lost,
      waiting: this.#spool.records,
      waitingBytes: this.#spool.bytes,
      problem: this.#problem,
    };
  }

  /** Resolves once it is on disk, or counted as lost. */
  async add(records: number, request: OtlpRequests[S]): Promise<void> {
    const body = await zip(encodeRequest(this.#signal, request));
    if (this.#closing.signal.aborted) return;
    const evicted = this.#spool.evicted;
    try {
      this.#spool.add(records, body);
    } catch (error) {
      this.#lose(records, `${this.#signal}: ${messageOf(error)}`);
    }
    this.#lose(this.#spool.evicted - evicted);
    this.#send();
  }

  #lose(records: number, why?: string): void {
    if (why !== undefined) this.#problem = why;
    if (records === 0) return;
    this.#lost += records;
    this.#onLost(records);
  }

  /** Tries at once what waits for its time. */
  retry(): void {
    this.#wake?.();
    this.#send();
  }

  #send(): void {
    this.#sending ??= this.#sendAll()
      .catch((error: unknown) => {
        this.#problem = messageOf(error);
      })
      .finally(() => {
        this.#sending = undefined;
      });
  }

  /** What waits stays; what is under way is given up. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#wake?.();
    await this.#sending;
  }

  async #sendAll(): Promise<void> {
    let waitMs = BACKOFF_MIN_MS;
    for (let parcel = this.#spool.peek(); parcel; parcel = this.#spool.peek()) {
      const { headers, endpoint } = this.#target();
      // Headers are secret and come from the control plane: without them nothing is sent yet.
      if (headers === undefined || this.#closing.signal.aborted) return;
      const target = { headers, endpoint };
      const body = this.#spool.read(parcel);
      const outcome = await sendTo(target, this.#signal, body, this.#closing.signal);
      if (this.#closing.signal.aborted) return;
      if (outcome.is === "later") {
        this.#problem = outcome.why;
        await this.#pause(outcome.afterMs ?? waitMs * (0.5 + Math.random() / 2));
        waitMs = Math.min(waitMs * 2, BACKOFF_MAX_MS);
        continue;
      }
      waitMs = BACKOFF_MIN_MS;
      // One that had to go while it was under way is counted as lost already.
      const { records } = parcel;
      const isCounted = !this.#spool.remove(parcel);
      this.#problem = undefined;
      if (outcome.is === "refused") this.#lose(isCounted ? 0 : records, outcome.why);
      else if (!isCounted) this.#sent += records;
    }
  }

  async #pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }
}
