// What telemetry and Prometheus know of releases, for the rollouts that are judged by it.

import { HoldfastError, messageOf } from "../kernel/error.ts";
import type { ArmCounts, ComparisonQuestion, ResultTable } from "../kernel/signal.ts";
import type { MetricScope, MetricValue, RolloutTelemetry } from "../resources/app/app-driver.ts";
import type { AppMetric } from "../resources/app/rollout-policy.ts";
import type { PrometheusClient } from "./prometheus/prometheus-client.ts";
import type { TelemetryClient } from "./telemetry-client.ts";

const TIMEOUT_MS = 5_000;
/** The tables hold what came since so long before the last look; $since and $until say which is new. */
const SQL_BEFORE_MS = 10 * 60_000;
const NAMES = /\$(environment|app|release|since|until)\b/g;

export class InstallationTelemetry implements RolloutTelemetry {
  readonly #telemetry: TelemetryClient;
  readonly #prometheus: PrometheusClient;

  constructor(telemetry: TelemetryClient, prometheus: PrometheusClient) {
    this.#telemetry = telemetry;
    this.#prometheus = prometheus;
  }

  compare(question: ComparisonQuestion): Promise<readonly ArmCounts[] | undefined> {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    return this.#telemetry
      .ask<readonly ArmCounts[]>("/comparison", question, signal)
      .catch(() => undefined);
  }

  read(metric: AppMetric, scope: MetricScope): Promise<MetricValue> {
    const reading =
      metric.promql === undefined
        ? this.#readSql(metric.sql ?? "", scope)
        : this.#readPromql(metric.promql, scope);
    return reading.catch((error: unknown) => ({
      value: null,
      problem: messageOf(error),
      isWrong: error instanceof HoldfastError && error.actsNext === "caller",
    }));
  }

  async #readPromql(promql: string, scope: MetricScope): Promise<MetricValue> {
    const query = promql.replaceAll(NAMES, (_, name: keyof MetricScope) =>
      name === "since" || name === "until" ? String(scope[name] / 1000) : String(scope[name]),
    );
    const { data } = (await this.#prometheus.ask(
      "query",
      { query, time: String(scope.until / 1000) },
      scope.environment,
    )) as { data: { resultType: string; result: readonly unknown[] } };
    return readingOf(data);
  }

  async #readSql(sql: string, scope: MetricScope): Promise<MetricValue> {
    const text = sql.replaceAll(NAMES, (_, name: keyof MetricScope) => literal(name, scope));
    const { columns, rows } = await this.#telemetry.ask<ResultTable>(
      "/query",
      {
        sql: text,
        environment: scope.environment,
        from: scope.since - SQL_BEFORE_MS,
        to: scope.until,
        limit: 2,
        timeoutMs: TIMEOUT_MS,
      },
      AbortSignal.timeout(TIMEOUT_MS),
    );
    const [row] = rows;
    const at = (name: string): number | undefined => {
      const cell = row?.[columns.indexOf(name)];
      return cell === undefined || cell === null ? undefined : Number(cell);
    };
    const [bad, total] = [at("bad"), at("total")];
    if (bad !== undefined && total !== undefined)
      return { value: total > 0 ? bad / total : null, tally: { bad, total } };
    const value = at("value") ?? (columns.length === 1 ? at(columns[0] ?? "") : undefined);
    if (value !== undefined && Number.isFinite(value)) return { value };
    const isTold =
      columns.length === 1 ||
      columns.includes("value") ||
      (columns.includes("bad") && columns.includes("total"));
    const isWrong = !isTold;
    return {
      value: null,
      problem: isWrong
        ? "the SQL gives no column `value`, nor `bad` and `total`"
        : "the SQL gives no value",
      isWrong,
    };
  }
}

function literal(name: keyof MetricScope, scope: MetricScope): string {
  if (name === "release") return String(scope.release);
  if (name === "since" || name === "until")
    return `make_timestamp(${Math.round(scope[name] * 1000)})`;
  return `'${scope[name].replaceAll("'", "''")}'`;
}

function readingOf({
  resultType,
  result,
}: {
  readonly resultType: string;
  readonly result: readonly unknown[];
}): MetricValue {
  const sample =
    resultType === "scalar" ? result : (result[0] as { value?: readonly unknown[] })?.value;
  if (resultType !== "scalar" && result.length > 1)
    return { value: null, problem: `the query gives ${result.length} values, one is wanted` };
  const value = Number(sample?.[1] ?? Number.NaN);
  return Number.isFinite(value) ? { value } : { value: null, problem: "the query gives no value" };
}
