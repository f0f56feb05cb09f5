// A load generator that knows the truth: how many requests it sent, what each was answered, and
// which orders it was promised. Keep-alive connections, bounded in rate and time.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { Agent, type Dispatcher } from "undici";

export interface LoadOptions {
  /** https://127.0.0.1:8443 */
  readonly origin: string;
  readonly host: string;
  readonly caFile: string;
  readonly requestsPerSecond: number;
  readonly connections: number;
  /** Of all requests, how many place an order. */
  readonly orderShare: number;
}

export interface LoadResult {
  readonly sent: number;
  readonly failures: readonly string[];
  readonly failed: number;
  /** Idempotency key → order id that was promised. */
  readonly orders: ReadonlyMap<string, string>;
  readonly latenciesMs: readonly number[];
  readonly releases: ReadonlyMap<string, number>;
}

const TICK_MS = 10;
const FAILURES_KEPT = 50;
const REQUEST_TIMEOUT_MS = 20_000;

export class Load {
  readonly #options: LoadOptions;
  readonly #agent: Agent;
  readonly #failures: string[] = [];
  readonly #orders = new Map<string, string>();
  readonly #latencies: number[] = [];
  readonly #releases = new Map<string, number>();
  readonly #open = new Set<Promise<void>>();
  #timer: NodeJS.Timeout | undefined;
  #sent = 0;
  #failed = 0;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#agent = new Agent({
      connections: options.connections,
      pipelining: 1,
      allowH2: false,
      connect: { ca: readFileSync(options.caFile), servername: options.host },
    });
  }

  start(): void {
    const began = performance.now();
    this.#timer = setInterval(() => {
      const due = ((performance.now() - began) / 1000) * this.#options.requestsPerSecond;
      while (this.#sent < due) this.#fire();
    }, TICK_MS);
  }

  async stop(): Promise<LoadResult> {
    clearInterval(this.#timer);
    await Promise.all(this.#open);
    await this.#agent.close();
    return {
      sent: this.#sent,
      failed: this.#failed,
      failures: this.#failures,
      orders: this.#orders,
      latenciesMs: this.#latencies,
      releases: this.#releases,
    };
  }

  #fire(): void {
    this.#sent += 1;
    const isOrder = Math.random() < this.#options.orderShare;
    const work = (isOrder ? this.#order() : this.#read()).catch((error: unknown) => {
      const { message, code } = error as Error & { code?: string };
      this.#fail(`${isOrder ? "order" : "read"}: ${code ?? ""} ${message}`);
    });
    this.#open.add(work);
    void work.finally(() => this.#open.delete(work));
  }

  async #read(): Promise<void> {
    const path = ["/version", "/api/products", "/api/version", "/"][this.#sent % 4] ?? "/";
    const { statusCode, text } = await this.#request({ method: "GET", path });
    if (statusCode !== 200) return this.#fail(`GET ${path} → ${statusCode} ${text.slice(0, 80)}`);
    if (path.endsWith("version")) {
      const { release } = JSON.parse(text) as { release: string };
      this.#releases.set(release, (this.#releases.get(release) ?? 0) + 1);
    }
  }

  async #order(): Promise<void> {
    const key = randomUUID();
    const { statusCode, text } = await this.#request({
      method: "POST",
      path: "/api/orders",
      body: JSON.stringify({ items: [{ sku: "gift-card", quantity: 1 }] }),
      headers: { "content-type": "application/json", "idempotency-key": key },
    });
    if (statusCode !== 201) return this.#fail(`order → ${statusCode} ${text.slice(0, 80)}`);
    this.#orders.set(key, (JSON.parse(text) as { id: string }).id);
  }

  async #request(options: Omit<Dispatcher.RequestOptions, "origin"> & { headers?: object }) {
    const began = performance.now();
    const { statusCode, body } = await this.#agent.request({
      ...options,
      origin: this.#options.origin,
      headers: { ...options.headers, host: this.#options.host },
      headersTimeout: REQUEST_TIMEOUT_MS,
      bodyTimeout: REQUEST_TIMEOUT_MS,
    });
    const text = await body.text();
    this.#latencies.push(performance.now() - began);
    return { statusCode, text };
  }

  #fail(text: string): void {
    this.#failed += 1;
    if (this.#failures.length < FAILURES_KEPT)
      this.#failures.push(`${new Date().toISOString()} ${text}`);
  }
}
