// What users got, by service and release: counts and exact quantiles over the last minutes of
// request records, computed by DuckDB from the raw files.

import { type DuckDBConnection, DuckDBInstance } from "@duckdb/node-api";
import { REQUEST_COLUMNS } from "../kernel/signal.ts";

export interface TrafficRow {
  readonly app: string;
  readonly service: string;
  readonly release: number;
  readonly requests: number;
  readonly errors: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
}

const MEMORY_LIMIT = "256MB";

export class TrafficQuery {
  #connection: Promise<DuckDBConnection> | undefined;

  async summarize(
    files: readonly string[],
    since: number,
    now: number,
  ): Promise<readonly TrafficRow[]> {
    if (files.length === 0) return [];
    const connection = await this.#connect();
    const reader = await connection.runAndReadAll(sqlFor(files, since));
    const seconds = Math.max(1, (now - since) / 1000);
    return reader.getRowObjects().map((row) => {
      const [environment = "", app = "", service = ""] = String(row["pool"]).split(".");
      const requests = Number(row["requests"]);
      return {
        app: `${environment}/${app}`,
        service,
        release: Number(row["release"] ?? 0),
        requests,
        errors: Number(row["errors"]),
        requestsPerSecond: requests / seconds,
        p50Ms: Number(row["p50"]),
        p95Ms: Number(row["p95"]),
        p99Ms: Number(row["p99"]),
      };
    });
  }

  #connect(): Promise<DuckDBConnection> {
    this.#connection ??= DuckDBInstance.create(":memory:", {
      threads: "1",
      memory_limit: MEMORY_LIMIT,
    }).then((db) => db.connect());
    return this.#connection;
  }
}

function sqlFor(files: readonly string[], since: number): string {
  const columns = REQUEST_COLUMNS.map((column) => `'${column}': 'VARCHAR'`).join(", ");
  const list = files.map((file) => `'${file.replaceAll("'", "''")}'`).join(", ");
  return `
    SELECT regexp_replace(pool, '\\.[ab]$', '') AS pool,
           coalesce(try_cast(regexp_extract(instance, '\\.r(\\d+)', 1) AS INTEGER), 0) AS release,
           count(*) AS requests,
           count(*) FILTER (try_cast(status AS INTEGER) >= 500) AS errors,
           quantile_cont(try_cast(totalMs AS DOUBLE), 0.5) AS p50,
           quantile_cont(try_cast(totalMs AS DOUBLE), 0.95) AS p95,
           quantile_cont(try_cast(totalMs AS DOUBLE), 0.99) AS p99
    FROM read_csv([${list}], delim = '\\t', quote = '', escape = '', header = false,
                  auto_detect = false, ignore_errors = true, columns = {${columns}})
    WHERE pool LIKE '%.%.%.%' AND try_cast(time AS BIGINT) >= ${Math.floor(since)}
    GROUP BY ALL ORDER BY pool, release`;
}
