// Two releases of an app side by side, over the same stretch of time: what a rollout is judged by.
// Counted from request records, exactly; what testers asked for is left out, for they chose.

import type { ArmCounts, ComparisonQuestion } from "../kernel/signal.ts";
import { QUANTILE_STEPS } from "../kernel/signal.ts";
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
const LEVELS = Array.from({ length: QUANTILE_STEPS + 1 }, (_, i) => i / QUANTILE_STEPS);

export class ComparisonQuery {
  readonly #store: TelemetryStore;

  constructor(store: TelemetryStore) {
    this.#store = store;
  }

  async compare(question: ComparisonQuestion): Promise<readonly ArmCounts[]> {
    await this.#store.load(["requests", "logs"]);
    const [counts, logErrors] = await Promise.all([
      this.#store.database.read(this.#countsQuery(question)),
      this.#store.database.read(this.#logErrorsQuery(question)),
    ]);
    return counts.map((row) => armOf(row, logErrors));
  }

  #countsQuery(question: ComparisonQuestion): string {
    const { environment, app, releases, from, through, bounds, quantiles } = question;
    const { beganFrom = 0, latencyFrom } = question;
    const rows = this.#store.rows("requests", {
      from: from - LONGEST_MS,
      to: through,
      environment,
    });
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
      FROM (SELECT service, release, latency_ms, failed = 1 AS isError,
                   epoch_ms(time) >= ${latencyFrom} AND (failed <> 1 AND status >= 100 OR isUnanswered) AS isTimed,
                   status >= 100 OR failed = 1 AS isCounted
            FROM (SELECT *, duration_ms >= ${UNANSWERED_FROM_MS} AND regexp_matches(ending, '^[CcSs]H') AS isUnanswered
                  FROM (${rows}))
            WHERE app = ${quoted(app)} AND release IN (${releases.join(", ")}) AND route <> 'tester'
              AND epoch_ms(time) >= ${beganFrom} AND epoch_ms(time) + duration_ms > ${from} AND epoch_ms(time) + duration_ms <= ${through}
              AND (status >= 100 OR failed = 1 OR isUnanswered))
      GROUP BY ALL ORDER BY service, release`;
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
