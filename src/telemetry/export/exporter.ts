// Sends one environment's telemetry onward to one place, by OTLP over HTTP. What was taken in is
// spooled on disk before it counts as handed over, then sent until it is accepted: at least once,
// as OTLP has it. A place that is away delays; one that refuses what it was sent loses that, counted.

import { join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { messageOf } from "../../kernel/error.ts";
import type { ExportState, ExportTarget } from "../../kernel/signal.ts";
import { encodeRequest, type OtlpRequests, type OtlpSignal } from "../otlp/messages.ts";
import { keepFile, readKept } from "../store/durable-file.ts";
import { Spool } from "./spool.ts";

const zip = promisify(gzip);
const SPOOL_MAX_BYTES = 256 * 1024 ** 2;
const SEND_TIMEOUT_MS = 20_000;
const BACKOFF_MIN_MS = 1_000;
const BACKOFF_MAX_MS = 60_000;
/** As the OTLP specification names them. */
const RETRYABLE = [408, 429, 502, 503, 504];
const ANSWER_MAX_CHARS = 300;

export type KnownTarget = Omit<ExportTarget, "headers"> & Partial<Pick<ExportTarget, "headers">>;

export class Exporter {
  readonly #dir: string;
  readonly #spool: Spool;
  /** Without headers, which are secret and come from the control plane, nothing is sent yet. */
  #target: KnownTarget;
  /** Signal → the batch up to which rows were taken in. */
  readonly #positions: Record<string, number>;
  #sending: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #isClosed = false;
  #sent = 0;
  #lost = 0;
  #problem: string | undefined;

  constructor(dir: string, target: KnownTarget) {
    this.#dir = dir;
    this.#target = target;
    this.#spool = new Spool(join(dir, "spool"), SPOOL_MAX_BYTES);
    this.#positions = readKept<Record<string, number>>(join(dir, "positions.json")) ?? {};
    this.#send();
  }

  get target(): KnownTarget {
    return this.#target;
  }

  set target(target: KnownTarget) {
    this.#target = target;
    this.#send();
  }

  state(): ExportState {
    return {
      sent: this.#sent,
      waiting: this.#spool.records,
      waitingBytes: this.#spool.bytes,
      lost: this.#lost,
      ...(this.#problem !== undefined && { problem: this.#problem }),
    };
  }

  /** The batch up to which rows of a signal were taken in; undefined at the very beginning. */
  position(signal: string): number | undefined {
    return this.#positions[signal];
  }

  setPosition(signal: string, batch: number): void {
    this.#positions[signal] = batch;
    keepFile(join(this.#dir, "positions.json"), JSON.stringify(this.#positions));
  }

  /** Resolves once it is on disk. */
  async add<S extends OtlpSignal>(signal: S, records: number, request: OtlpRequests[S]) {
    const body = await zip(encodeRequest(signal, request));
    this.#lost += this.#spool.add(signal, records, body);
    this.#send();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#wake?.();
    await this.#sending;
  }

  #send(): void {
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined;
    });
  }

  async #sendAll(): Promise<void> {
    let waitMs = BACKOFF_MIN_MS;
    for (let next = this.#spool.peek(); next && !this.#isClosed; next = this.#spool.peek()) {
      const { parcel, body } = next;
      const { headers, endpoint } = this.#target;
      if (headers === undefined) return;
      const outcome = await sendTo({ headers, endpoint }, parcel.signal, body);
      if (outcome.is === "later") {
        this.#problem = outcome.why;
        await this.#pause(outcome.afterMs ?? waitMs * (0.5 + Math.random()));
        waitMs = Math.min(waitMs * 2, BACKOFF_MAX_MS);
        continue;
      }
      this.#spool.shift();
      waitMs = BACKOFF_MIN_MS;
      if (outcome.is === "taken") this.#sent += parcel.records;
      else this.#lost += parcel.records;
      this.#problem = outcome.is === "taken" ? undefined : outcome.why;
    }
  }

  async #pause(ms: number): Promise<void> {
    if (this.#isClosed) return;
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

export type SendOutcome =
  | { readonly is: "taken" }
  | { readonly is: "refused"; readonly why: string }
  | { readonly is: "later"; readonly why: string; readonly afterMs?: number };

/** Sends a gzipped message once. */
export async function sendTo(
  { endpoint, headers }: Pick<ExportTarget, "endpoint" | "headers">,
  signal: OtlpSignal,
  body: Uint8Array,
): Promise<SendOutcome> {
  try {
    const answer = await fetch(`${endpoint.replace(/\/$/, "")}/v1/${signal}`, {
      method: "POST",
      headers: {
        ...headers,
        "content-type": "application/x-protobuf",
        "content-encoding": "gzip",
      },
      body: Buffer.from(body),
      redirect: "manual",
      signal: AbortSignal.timeout(SEND_TIMEOUT_MS),
    });
    const text = (await answer.text()).slice(0, ANSWER_MAX_CHARS);
    if (answer.ok) return { is: "taken" };
    const why = `${signal}: it answered ${answer.status}${text === "" ? "" : `: ${text}`}`;
    if (!RETRYABLE.includes(answer.status)) return { is: "refused", why };
    const afterS = Number(answer.headers.get("retry-after"));
    return {
      is: "later",
      why,
      ...(afterS > 0 && { afterMs: Math.min(afterS * 1_000, BACKOFF_MAX_MS) }),
    };
  } catch (error) {
    const { cause } = error as { cause?: unknown };
    return { is: "later", why: `${signal}: ${messageOf(cause ?? error)}` };
  }
}
