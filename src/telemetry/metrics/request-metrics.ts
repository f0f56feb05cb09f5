// Request rate, errors and latency by service and release, counted from the request records as they
// are loaded: exact, and one short question per second however many requests there were.

import { LATENCY_BOUNDS_MS } from "../../kernel/signal.ts";
import type { Database, Row } from "../store/database.ts";
import type { SignalStore } from "../store/signal-store.ts";
import type { MetricRegistry } from "./registry.ts";

export function countRequests(
  requests: SignalStore,
  database: Database,
  registry: MetricRegistry,
): void {
  const buckets = LATENCY_BOUNDS_MS.map(
    (bound) => `(count(*) FILTER (latency_ms <= ${bound}))::DOUBLE AS le_${bound}`,
  ).join(", ");
  requests.onLoaded(async ({ rows }) => {
    const groups = await database.read(`
      SELECT environment, app, service, release, route = 'internal' AS internal,
             CASE WHEN failed = 1 AND status < 500 THEN 'none'
                  WHEN status < 100 THEN 'aborted' ELSE (status // 100) || 'xx' END AS code,
             count(*)::DOUBLE AS n, sum(latency_ms)::DOUBLE AS ms, ${buckets}
      FROM (${rows}) GROUP BY ALL`);
    for (const group of groups) observeGroup(registry, group);
  });
}

function observeGroup(registry: MetricRegistry, group: Row): void {
  const { environment, app, service, release, code } = group;
  const labels = {
    environment: String(environment),
    app: String(app),
    service: String(service),
    release: Number(release),
    from: group["internal"] ? "inside" : "outside",
  };
  const owner = `requests of ${environment}/${app}`;
  registry.observe({
    name: "holdfast_requests_total",
    type: "counter",
    help: "Requests as the edge saw them, by class of their status; none: no whole answer, by the app's doing; aborted: the client went away.",
    labels: { ...labels, code: String(code) },
    value: Number(group["n"]),
    isDelta: true,
    owner,
  });
  const name = "holdfast_request_duration_seconds";
  const type = "histogram";
  const help =
    "From the first byte of a request to the last of its answer; of streams and tunnels to the first.";
  const observe = (suffix: string, value: number, le?: string): boolean =>
    registry.observe({
      name,
      type,
      help,
      suffix,
      labels: le === undefined ? labels : { ...labels, le },
      value,
      isDelta: true,
      owner,
    });
  for (const bound of LATENCY_BOUNDS_MS)
    observe("_bucket", Number(group[`le_${bound}`]), String(bound / 1000));
  observe("_bucket", Number(group["n"]), "+Inf");
  observe("_sum", Number(group["ms"]) / 1000);
  observe("_count", Number(group["n"]));
}
