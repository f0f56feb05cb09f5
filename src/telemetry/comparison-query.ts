// Two releases of an app side by side, over the same stretch of time: what a rollout is judged by.
// Counted from request records, exactly; what testers asked for is left out, for they chose.

import type {
  ArmCounts,
  Clustering,
  ClusterSums,
  ComparisonQuestion,
  Counted,
  OddAnswer,
} from "../kernel/signal.ts";
import { LATENCY_LEVELS, ODD_ANSWERS, QUANTILE_STEPS } from "../kernel/signal.ts";
import { routePattern } from "./route-pattern.ts";
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
/** Routes that are told apart in one service; the rest are one. */
const ROUTES_MAX = 40;
const OTHER_ROUTES = "all others";
/** Whole answers whose size says something: no part of a file, none without a body. */
const IS_SIZED =
  "failed <> 1 AND status BETWEEN 200 AND 299 AND status NOT IN (204, 205, 206) AND method <> 'HEAD'";
const LEVELS = Array.from({ length: QUANTILE_STEPS + 1 }, (_, i) => i / QUANTILE_STEPS);

export class ComparisonQuery {
  readonly #store: TelemetryStore;

  constructor(store: TelemetryStore) {
    this.#store = store;
  }

  async compare(question: ComparisonQuestion): Promise<readonly ArmCounts[]> {
    await this.#store.load(["requests", "logs"]);
    const [counts, routes, logErrors, sums] = await Promise.all([
      this.#store.database.read(this.#countsQuery(question)),
      question.routes ? this.#store.database.read(this.#routesQuery(question)) : [],
      this.#store.database.read(this.#logErrorsQuery(question)),
      question.clustering ? this.#store.database.read(this.#clustersQuery(question)) : [],
    ]);
    return counts.map((row) => {
      const arm = {
        ...armOf(row, logErrors),
        ...(question.routes && { routes: routesOf(row, routes) }),
      };
      return question.clustering ? { ...arm, clustering: clusteringOf(arm, sums) } : arm;
    });
  }

  /** The records that count, with what is asked of each. */
  #records(question: ComparisonQuestion): string {
    const { environment, app, releases, from, through, beganFrom = 0, latencyFrom } = question;
    const [small, large] = [0, 1].map((index) => sizeCase(question.sizes ?? {}, index));
    const rows = this.#store.rows("requests", {
      from: from - LONGEST_MS,
      to: through,
      environment,
    });
    return `
      SELECT service, release, client, epoch_ms(time) // ${CLUSTER_MS} AS slice, latency_ms, failed = 1 AS isError,
             epoch_ms(time) >= ${latencyFrom} AND (failed <> 1 AND status >= 100 OR isUnanswered) AS isTimed,
             status >= 100 OR failed = 1 AS isCounted, failed <> 1 AND status >= 100 AS isAnswered,
             failed <> 1 AND status BETWEEN 300 AND 399 AND status <> 304 AS redirects,
             failed <> 1 AND status BETWEEN 400 AND 499 AS refusals,
             ${IS_SIZED} AS isSized, bytes_out,
             coalesce(isSized AND bytes_out < (${small}), false) AS small,
             coalesce(isSized AND bytes_out > (${large}), false) AS large,
             ${routePattern("method", "path")} AS pattern
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
             (count(*) FILTER (isTimed))::DOUBLE AS timed,
             (count(*) FILTER (isSized))::DOUBLE AS sized,
             ${ODD_ANSWERS.map((what) => `(count(*) FILTER (${what}))::DOUBLE AS ${what}`).join(", ")},
             (count(*) FILTER (isAnswered))::DOUBLE AS answered,
             sum(ln(greatest(latency_ms, 1))) FILTER (isAnswered) AS logs,
             sum(ln(greatest(latency_ms, 1)) ** 2) FILTER (isAnswered) AS logs_squared
             ${over.map((one) => `, ${one}`).join("")}
             ${quantiles ? `, quantile_cont(CASE WHEN isTimed THEN latency_ms END, [${LEVELS.join(", ")}])::DOUBLE[] AS quantiles, quantile_cont(CASE WHEN isSized THEN bytes_out END, [0.05, 0.95])::DOUBLE[] AS sizes` : ""}
      FROM (${this.#records(question)})
      GROUP BY ALL ORDER BY service, release`;
  }

  // Which routes are told apart depends on how many requests they have, never on how those end.
  #routesQuery(question: ComparisonQuestion): string {
    return `
      WITH records AS (${this.#records(question)}),
           common AS (SELECT service, pattern FROM records WHERE isCounted GROUP BY service, pattern
                      QUALIFY row_number() OVER (PARTITION BY service ORDER BY count(*) DESC, pattern) <= ${ROUTES_MAX})
      SELECT service, release, CASE WHEN common.pattern IS NULL THEN ${quoted(OTHER_ROUTES)} ELSE pattern END AS route,
             count(*)::DOUBLE AS total, (count(*) FILTER (isError OR refusals))::DOUBLE AS bad
      FROM records LEFT JOIN common USING (service, pattern)
      WHERE isCounted GROUP BY ALL ORDER BY route`;
  }

  // Clusters are clients, and slices of time; of each kind the sums that the variance over them needs.
  #clustersQuery(question: ComparisonQuestion): string {
    const bad = ["isError", ...ODD_ANSWERS, ...LATENCY_LEVELS.map((_, i) => `slow_${i}`)];
    const slow = LATENCY_LEVELS.map(
      (_, i) => `coalesce(isTimed AND latency_ms > bounds[${i + 1}], false) AS slow_${i}`,
    ).join(", ");
    const counted = bad.map((what) => `(count(*) FILTER (${what}))::DOUBLE AS ${what}`).join(", ");
    const sums = bad
      .map((what) => {
        const total = totalOf(what);
        return `sum(${what}) AS ${what}_bad, sum(${what} * ${what}) AS ${what}_badSquared, sum(${what} * ${total}) AS ${what}_badTotal`;
      })
      .join(", ");
    const clusters = (kind: string): string => `
      SELECT '${kind}' AS kind, service, release, ${kind}::VARCHAR AS cluster,
             (count(*) FILTER (isCounted))::DOUBLE AS requests, (count(*) FILTER (isTimed))::DOUBLE AS timed,
             (count(*) FILTER (isSized))::DOUBLE AS sized, ${counted}
      FROM flagged WHERE ${kind}::VARCHAR <> '' GROUP BY ALL`;
    return `
      WITH records AS (${this.#records(question)}),
           quantiles AS (SELECT service, release, quantile_cont(CASE WHEN isTimed THEN latency_ms END, [${LATENCY_LEVELS.join(", ")}]) AS bounds
                         FROM records GROUP BY ALL),
           flagged AS (SELECT records.*, ${slow} FROM records JOIN quantiles USING (service, release)),
           clusters AS (${clusters("client")} UNION ALL ${clusters("slice")})
      SELECT kind, service, release, count(*)::DOUBLE AS clusters,
             sum(requests) AS requests, sum(requests * requests) AS requestsSquared,
             sum(timed) AS timed, sum(timed * timed) AS timedSquared,
             sum(sized) AS sized, sum(sized * sized) AS sizedSquared, ${sums}
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

/** What the bad ones are counted among. */
function totalOf(what: string): "requests" | "timed" | "sized" {
  if (what.startsWith("slow_")) return "timed";
  return what === "small" || what === "large" ? "sized" : "requests";
}

function sizeCase(sizes: NonNullable<ComparisonQuestion["sizes"]>, index: number): string {
  const cases = Object.entries(sizes).map(
    ([service, bounds]) => `WHEN service = ${quoted(service)} THEN ${Number(bounds[index])}`,
  );
  return cases.length > 0 ? `CASE ${cases.join(" ")} END` : "NULL";
}

const isOf = (row: Row) => (one: Row) =>
  one["service"] === row["service"] && Number(one["release"]) === Number(row["release"]);

const routesOf = (row: Row, routes: readonly Row[]): Record<string, Counted> =>
  Object.fromEntries(
    routes
      .filter(isOf(row))
      .map((one) => [
        String(one["route"]),
        { total: Number(one["total"]), bad: Number(one["bad"]) },
      ]),
  );

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
  const own = rows.filter(isOf({ service, release }));
  const sums = (what: string): ClusterSums[] =>
    own.map((row) => ({
      clusters: Number(row["clusters"]),
      total: Number(row[totalOf(what)]),
      totalSquared: Number(row[`${totalOf(what)}Squared`]),
      bad: Number(row[`${what}_bad`]),
      badSquared: Number(row[`${what}_badSquared`]),
      badTotal: Number(row[`${what}_badTotal`]),
    }));
  return {
    errors: sums("isError"),
    slow: LATENCY_LEVELS.map((_, i) => sums(`slow_${i}`)),
    odd: Object.fromEntries(ODD_ANSWERS.map((what) => [what, sums(what)])) as Record<
      OddAnswer,
      ClusterSums[]
    >,
  };
}

function armOf(row: Row, logErrors: readonly Row[]): ArmCounts {
  const [service, release] = [String(row["service"]), Number(row["release"])];
  const logged = logErrors.find(isOf(row));
  const counted = (what: OddAnswer): Counted => ({
    total: Number(row[totalOf(what)]),
    bad: Number(row[what]),
  });
  const sizes = listOf(row["sizes"]);
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
    odd: {
      redirects: counted("redirects"),
      refusals: counted("refusals"),
      small: counted("small"),
      large: counted("large"),
    },
    ...(sizes.length === 2 && { sizes: [sizes[0] ?? 0, sizes[1] ?? 0] as const }),
    logMs: {
      count: Number(row["answered"]),
      sum: Number(row["logs"] ?? 0),
      squares: Number(row["logs_squared"] ?? 0),
    },
    quantiles: listOf(row["quantiles"]),
  };
}

const listOf = (value: unknown): number[] => (Array.isArray(value) ? value.map(Number) : []);
