// How many requests of a service there were from outside, and how many of them broke its objective:
// from request records, so to the last one.

import type { ObjectiveCounts, ObjectiveQuestion } from "../kernel/objective-counts.ts";
import { routePattern } from "./route-pattern.ts";
import { quoted } from "./sql.ts";
import type { TelemetryStore } from "./store/telemetry-store.ts";

const ROUTES_MAX = 20;

export class ObjectiveQuery {
  readonly #store: TelemetryStore;

  constructor(store: TelemetryStore) {
    this.#store = store;
  }

  async count(question: ObjectiveQuestion): Promise<readonly ObjectiveCounts[]> {
    const { environment, app, service, underMs, from, to, byRoute } = question;
    await this.#store.load(["requests"]);
    const rows = await this.#store.database.read(`
      SELECT release, ${byRoute ? `${routePattern("method", "path")} AS pattern,` : ""} count(*)::DOUBLE AS total,
             (count(*) FILTER (${underMs === undefined ? "failed = 1" : `latency_ms > ${Number(underMs)}`}))::DOUBLE AS bad
      FROM (${this.#store.rows("requests", { from, to, environment })})
      WHERE app = ${quoted(app)} AND service = ${quoted(service)} AND route <> 'internal'
        AND epoch_ms(time) >= ${Number(from)} AND epoch_ms(time) < ${Number(to)}
      GROUP BY ALL ORDER BY bad DESC${byRoute ? ` LIMIT ${ROUTES_MAX}` : ""}`);
    return rows.map((row) => ({
      release: Number(row["release"]),
      total: Number(row["total"]),
      bad: Number(row["bad"]),
      ...(byRoute && { route: String(row["pattern"]) }),
    }));
  }
}
