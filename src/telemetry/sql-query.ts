// Questions of a person in SQL: the tables as views of one stretch of time, nothing else.

import type { ResultTable } from "../kernel/signal.ts";
import type { TelemetryStore } from "./store/telemetry-store.ts";

export interface SqlQuestion {
  readonly sql: string;
  readonly environment?: string | undefined;
  readonly from: number;
  readonly to: number;
  readonly limit: number;
  readonly timeoutMs: number;
}

export class SqlQuery {
  readonly #store: TelemetryStore;

  constructor(store: TelemetryStore) {
    this.#store = store;
  }

  async ask({ sql, limit, timeoutMs, ...extent }: SqlQuestion): Promise<ResultTable> {
    await this.#store.load();
    return this.#store.ask(extent, { sql, limit, timeoutMs });
  }
}
