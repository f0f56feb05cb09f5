// Two releases of an app side by side, over the same stretch of time: what a rollout is judged by.
// Counted from request records, exactly; what testers asked for is left out, for they chose.

import type { ArmCounts, Clustering, ClusterSums, ComparisonQuestion } from "../kernel/signal.ts";
import { LATENCY_LEVELS, QUANTILE_STEPS } from "../kernel/signal.ts";
import { quoted } from "./sql.ts";
import type { Row } from "./store/database.ts";
import type { TelemetryStore } from "./store/telemetry-store.ts";

/**
 * Who waited so long for an answer that never came, whoever gave up in the end, is timed as slow.
 * The edge tells the age of what still waits in whole seconds, so less is not to be seen there either.
 */
const UNANSWERED_FROM_MS = 1_000;
/** A request that ended in the stretch may have begun so long before it. */
const LONGEST_MS = 120_000;
/** So long is a slice of time over which outcomes are summed up. */
const CLUSTER_MS = 10_000;
const LEVELS = Array.from({ length: QUANTILE_STEPS + 1 }, (_, i) => i / QUANTILE_STEPS);

export class ComparisonQuery {
  readonly #store: TelemetryStore;

  constructor(store: TelemetryStore) {
    this.#store = store;
  }

  async compare(question: ComparisonQuestion): Promise<readonly ArmCounts[]> {
    await this.#store.load(["requests", "logs"]);
    const [counts, logErrors, sums] = await Promise.all([
      this.#store.database.read(this.#countsQuery(question)),
      this.#store.database.read(this.#logErrorsQuery(question)),
      question.clustering ? this.#store.database.read(this.#clustersQuery(question)) : [],
    ]);
    return counts.map((row) => {
      const arm = armOf(row, logErrors);
      return question.clustering ? { ...arm, clustering: clusteringOf(arm, sums) } : arm;
    });
  }

  /** The records that count, with what is asked of each. */
  #records(question: ComparisonQuestion): string {
    const { environment, app, releases, from, through, beganFrom = 0, latencyFrom } = question;
    const rows = this.#store.rows("requests", {
      from: from - LONGEST_MS,
      to: through,
      environment,
    });
    return `
      SELECT service, release, client, epoch_ms(time) // ${CLUSTER_MS} AS slice, latency_ms, failed = 1 AS isError,
             epoch_ms(time) >= ${latencyFrom} AND (failed <> 1 AND status >= 100 OR isUnanswered) AS isTimed,
             status >= 100 OR failed = 1 AS isCounted
      FROM (SELECT *, duration_ms >= ${UNANSWERED_FROM_MS} AND regexp_matches(ending, '^[CcSs]H') AS isUnanswered
            FROM (${rows}))
      WHERE app = ${quoted(app)} AND release IN (${releases.join(", ")}) AND route <> 'tester'
        AND epoch_ms(time) >= ${beganFrom} AND epoch_ms(time) + duration_ms > ${from} AND epoch_ms(time) + duration_ms <= ${through}
        AND (status >= 100 OR failed = 1 OR isUnanswered)`;
  }

  #countsQuery(question: ComparisonQuestion): string {
    const { bounds, quantiles } = question;
    const levels = Math.max(
      0,
      ...Object.values(bounds)
        .flatMap(Object.values)
        .map((one) => one.length),
    );
    const over = Array.from(
      { length: levels },
      (_, level) =>
        `(count(*) FILTER (isTimed AND latency_ms > (${boundCase(bounds, level)})))::DOUBLE AS over_${level}`,
    );
    return `
      SELECT service, release, (count(*) FILTER (isCounted))::DOUBLE AS requests,
             (count(*) FILTER (isError))::DOUBLE AS errors,
             (count(*) FILTER (isTimed))::DOUBLE AS timed
             ${over.map((one) => `, ${one}`).join("")}
             ${quantiles ? `, quantile_cont(CASE WHEN isTimed THEN latency_ms END, [${LEVELS.join(", ")}])::DOUBLE[] AS quantiles` : ""}
      FROM (${this.#records(question)})
      GROUP BY ALL ORDER BY service, release`;
  }

  // Clusters are clients, and slices of time; of each kind the sums that the variance over them needs.
  #clustersQuery(question: ComparisonQuestion): string {
    const bad = ["isError", ...LATENCY_LEVELS.map((_, i) => `slow_${i}`)];
    const slow = LATENCY_LEVELS.map(
      (_, i) => `coalesce(isTimed AND latency_ms > bounds[${i + 1}], false) AS slow_${i}`,
    ).join(", ");
    const counted = bad.map((what) => `(count(*) FILTER (${what}))::DOUBLE AS ${what}`).join(", ");
    const sums = bad
      .map((what) => {
        const total = what === "isError" ? "requests" : "timed";
        return `sum(${what}) AS ${what}_bad, sum(${what} * ${what}) AS ${what}_badSquared, sum(${what} * ${total}) AS ${what}_badTotal`;
      })
      .join(", ");
    const clusters = (kind: string): string => `
      SELECT '${kind}' AS kind, service, release, ${kind}::VARCHAR AS cluster,
             (count(*) FILTER (isCounted))::DOUBLE AS requests, (count(*) FILTER (isTimed))::DOUBLE AS timed, ${counted}
      FROM flagged WHERE ${kind}::VARCHAR <> '' GROUP BY ALL`;
    return `
      WITH records AS (${this.#records(question)}),
           quantiles AS (SELECT service, release, quantile_cont(CASE WHEN isTimed THEN latency_ms END, [${LATENCY_LEVELS.join(", ")}]) AS bounds
                         FROM records GROUP BY ALL),
           flagged AS (SELECT records.*, ${slow} FROM records JOIN quantiles USING (service, release)),
           clusters AS (${clusters("client")} UNION ALL ${clusters("slice")})
      SELECT kind, service, release, count(*)::DOUBLE AS clusters,
             sum(requests) AS requests, sum(requests * requests) AS requestsSquared,
             sum(timed) AS timed, sum(timed * timed) AS timedSquared, ${sums}
      FROM clusters GROUP BY ALL`;
  }

  #logErrorsQuery({ environment, app, releases, from, through }: ComparisonQuestion): string {
    return `
      SELECT service, release, count(DISTINCT trace_id)::DOUBLE AS n
      FROM (${this.#store.rows("logs", { from, to: through, environment })})
      WHERE app = ${quoted(app)} AND release IN (${releases.join(", ")})
        AND level IN ('error', 'fatal') AND trace_id <> '' AND epoch_ms(time) > ${from}
      GROUP BY ALL`;
  }
}

function boundCase(bounds: ComparisonQuestion["bounds"], level: number): string {
  const cases = Object.entries(bounds).flatMap(([service, byRelease]) =>
    Object.entries(byRelease).map(
      ([release, own]) =>
        `WHEN service = ${quoted(service)} AND release = ${Number(release)} THEN ${own[level] ?? 0}`,
    ),
  );
  return cases.length > 0 ? `CASE ${cases.join(" ")} END` : "NULL";
}

function clusteringOf({ service, release }: ArmCounts, rows: readonly Row[]): Clustering {
  const own = rows.filter(
    (row) => row["service"] === service && Number(row["release"]) === release,
  );
  const sums = (what: string, of: "requests" | "timed"): ClusterSums[] =>
    own.map((row) => ({
      clusters: Number(row["clusters"]),
      total: Number(row[of]),
      totalSquared: Number(row[`${of}Squared`]),
      bad: Number(row[`${what}_bad`]),
      badSquared: Number(row[`${what}_badSquared`]),
      badTotal: Number(row[`${what}_badTotal`]),
    }));
  return {
    errors: sums("isError", "requests"),
    slow: LATENCY_LEVELS.map((_, i) => sums(`slow_${i}`, "timed")),
  };
}

function armOf(row: Row, logErrors: readonly Row[]): ArmCounts {
  const [service, release] = [String(row["service"]), Number(row["release"])];
  const logged = logErrors.find(
    (one) => one["service"] === service && Number(one["release"]) === release,
  );
  const over: number[] = [];
  for (let level = 0; row[`over_${level}`] !== undefined; level += 1)
    over.push(Number(row[`over_${level}`]));
  return {
    service,
    release,
    requests: Number(row["requests"]),
    errors: Number(row["errors"]),
    logErrors: Number(logged?.["n"] ?? 0),
    timed: Number(row["timed"]),
    over,
    quantiles: listOf(row["quantiles"]),
  };
}

const listOf = (value: unknown): number[] => (Array.isArray(value) ? value.map(Number) : []);
