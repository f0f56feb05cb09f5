// What users got, by service and release: counts and exact quantiles of request records.

import type { TrafficSummary } from "../kernel/signal.ts";
import type { TelemetryStore } from "./store/telemetry-store.ts";

export class TrafficQuery {
  readonly #store: TelemetryStore;

  constructor(store: TelemetryStore) {
    this.#store = store;
  }

  async summarize(from: number, to: number): Promise<readonly TrafficSummary[]> {
    await this.#store.load(["requests"]);
    const rows = await this.#store.database.read(`
      SELECT environment || '/' || app AS app, service, release,
             count(*)::DOUBLE AS requests,
             (count(*) FILTER (failed = 1))::DOUBLE AS errors,
             quantile_cont(latency_ms, 0.5)::DOUBLE AS p50,
             quantile_cont(latency_ms, 0.95)::DOUBLE AS p95,
             quantile_cont(latency_ms, 0.99)::DOUBLE AS p99
      FROM (${this.#store.rows("requests", { from, to })})
      WHERE app <> '' GROUP BY ALL ORDER BY app, service, release`);
    const seconds = Math.max(1, (to - from) / 1000);
    return rows.map((row) => ({
      app: String(row["app"]),
      service: String(row["service"]),
      release: Number(row["release"]),
      requests: Number(row["requests"]),
      errors: Number(row["errors"]),
      requestsPerSecond: Number(row["requests"]) / seconds,
      p50Ms: Number(row["p50"]),
      p95Ms: Number(row["p95"]),
      p99Ms: Number(row["p99"]),
    }));
  }
}
