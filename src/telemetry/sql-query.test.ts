import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { requestRecord } from "../../test/support/request-record.ts";
import { HoldfastError } from "../kernel/error.ts";
import type { ResultTable } from "../kernel/signal.ts";
import { SqlQuery } from "./sql-query.ts";
import { TelemetryStore } from "./store/telemetry-store.ts";

const NOW = Date.parse("2026-11-21T12:00:00Z");

/** As people ask: each has to be answered. */
const ALLOWED = [
  "SELECT path, count(*) AS n FROM requests WHERE status >= 500 GROUP BY path ORDER BY n DESC",
  "SELECT level, count(*) FROM logs WHERE app = 'storefront' GROUP BY level",
  "SELECT page, quantile_cont(value, 0.95) FROM usage WHERE name = 'LCP' GROUP BY page",
  "SELECT count(*) FILTER (status = 409) AS bad, count(*) AS total FROM requests WHERE time > now() - INTERVAL 1 DAY",
  "FROM requests SELECT host, app LIMIT 3",
  "WITH slow AS (SELECT * FROM requests WHERE duration_ms > 1) SELECT s.app, r.path FROM slow s JOIN requests r USING (trace_id)",
  "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT sum(n) FROM t",
  "SELECT * EXCLUDE (query) REPLACE (lower(path) AS path) FROM requests ORDER BY time DESC LIMIT 5 OFFSET 0",
  "SELECT path, row_number() OVER (PARTITION BY app ORDER BY time) AS nth FROM requests QUALIFY nth < 3",
  "SELECT CASE WHEN status BETWEEN 200 AND 299 THEN 'ok' ELSE 'no' END, status::VARCHAR, CAST(status AS DOUBLE) FROM requests",
  "SELECT DISTINCT ON (app) app, path FROM requests WHERE path LIKE '/%' AND host ILIKE '%shop%' AND path NOT SIMILAR TO 'x.*'",
  "SELECT unnest(range(3)) UNION ALL SELECT status FROM requests",
  "SELECT date_trunc('minute', time), time_bucket(INTERVAL 10 SECONDS, time), strftime(time, '%H'), extract(hour FROM time) FROM requests",
  "SELECT regexp_extract(path, '^/([a-z]+)', 1), string_split(path, '/')[1], list_transform([1, 2], lambda x: x + 1) FROM requests",
  "SELECT json_extract_string(text, '$.msg'), text->>'$.msg' FROM logs",
  "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) v(n, t) WHERE n IN (SELECT status FROM requests) OR EXISTS (SELECT 1 FROM logs)",
  "SELECT r.app, l.text FROM requests r LEFT JOIN logs l ON l.trace_id = r.trace_id, generate_series(1, 2) g",
  "SELECT approx_quantile(duration_ms, 0.99), max_by(path, duration_ms), mode(status), any_value(host) FROM requests GROUP BY ALL",
  "SELECT coalesce(nullif(query, ''), '-'), greatest(1, 2), TRY_CAST('x' AS INTEGER), current_date, round(1.5, 1) FROM requests",
  "SELECT {'a': 1}.a, MAP {'k': 1}['k'], [1, 2, 3][2:], #1 FROM requests ORDER BY 1",
] as const;

/** As somebody would who wants more than to look: each has to be refused. */
const REFUSED = [
  "DELETE FROM requests",
  "EXPLAIN ANALYZE DELETE FROM live_requests",
  "EXPLAIN ANALYZE COPY (SELECT 1) TO 'DIR/out.csv'",
  "EXPLAIN SELECT 1",
  "COPY (SELECT * FROM requests) TO 'DIR/out.csv'",
  "COPY requests TO 'DIR/journal/out.csv' (USE_TMP_FILE false)",
  "SELECT * FROM live_requests",
  "SELECT * FROM main.requests",
  "SELECT * FROM memory.main.requests",
  "SELECT * FROM read_parquet('DIR/archive/**/*.parquet')",
  "SELECT * FROM 'DIR/archive/requests/staging.parquet'",
  'SELECT * FROM "DIR/archive/requests/staging.parquet"',
  "SELECT * FROM read_text('/etc/passwd')",
  "SELECT * FROM glob('/etc/*')",
  "SELECT * FROM read_csv_auto('/etc/passwd')",
  "SELECT * FROM read_blob('DIR/archive/index.json')",
  "SELECT * FROM parquet_metadata('DIR/x.parquet')",
  "SELECT * FROM sniff_csv('/etc/passwd')",
  "SELECT getenv('HOME')",
  "SELECT current_setting('allowed_paths')",
  "SELECT * FROM duckdb_settings()",
  "SELECT * FROM duckdb_tables",
  "SELECT * FROM information_schema.tables",
  "SELECT * FROM pg_catalog.pg_class",
  "SELECT * FROM sqlite_master",
  "WITH duckdb_tables AS (SELECT 1) SELECT * FROM duckdb_tables",
  "SELECT (WITH live_requests AS (SELECT 1 AS a) SELECT 1), (SELECT count(*) FROM live_requests)",
  "SELECT * FROM query('DELETE FROM requests')",
  "SELECT * FROM query_table('live_requests')",
  "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
  "SELECT main.read_text('x')",
  "SELECT write_log('forged')",
  "SELECT sleep_ms(100000)",
  "SELECT pg_sleep(100)",
  "SELECT nextval('x')",
  "PRAGMA database_list",
  "SHOW TABLES",
  "DESCRIBE requests",
  "SUMMARIZE requests",
  "ATTACH 'DIR/other.db'",
  "INSTALL httpfs",
  "LOAD httpfs",
  "SET memory_limit = '100GB'",
  "CREATE TABLE t AS SELECT 1",
  "INSERT INTO live_requests SELECT * FROM requests",
  "PREPARE p AS DELETE FROM requests",
  "CALL pragma_version()",
  "SELECT 1; DELETE FROM requests",
  "BEGIN",
  "CHECKPOINT",
  "EXPORT DATABASE 'DIR/out'",
  "VACUUM",
  "WITH a AS (SELECT 1) DELETE FROM requests",
  "SELECT * FROM (DESCRIBE requests)",
  "PIVOT requests ON status USING count(*)",
  "SELECT * FROM icu_calendar_names()",
  "SELECT * FROM duckdb_secrets()",
] as const;

describe("SqlQuery", () => {
  const dir = mkdtempSync(join(tmpdir(), "holdfast-sql-"));
  let store: TelemetryStore;
  const ask = (sql: string, environment?: string): Promise<ResultTable> =>
    new SqlQuery(store).ask({
      sql,
      environment,
      from: NOW - 60_000,
      to: NOW + 60_000,
      limit: 1_000,
      timeoutMs: 10_000,
    });
  const filesIn = (): string[] => readdirSync(dir, { recursive: true }).map(String).sort();

  before(async () => {
    store = await TelemetryStore.open({
      dir,
      now: () => NOW + 20_000,
      policies: () => ({}),
      isSource: () => true,
      onProblem: () => undefined,
      onDropped: () => undefined,
    });
    const record = (environment: string, path: string): string =>
      requestRecord(NOW, {
        pool: `${environment}.shop.web.a`,
        instance: `${environment}.shop.web.r1.1`,
        path,
      });
    await store.append("requests", record("production", "/settled"));
    await store.append("requests", record("staging", "/settled"));
    await store.settle("requests", true);
    await store.append("requests", record("production", "/live"));
    await store.append("requests", record("staging", "/live"));
  });
  after(async () => {
    await store.close();
    rmSync(dir, { recursive: true, force: true });
  });

  it("sees what is in files and what is in none yet, of its environment only", async () => {
    const sql = "SELECT environment, path FROM requests ORDER BY ALL";
    assert.deepEqual((await ask(sql)).rows, [
      ["production", "/live"],
      ["production", "/settled"],
      ["staging", "/live"],
      ["staging", "/settled"],
    ]);
    assert.deepEqual((await ask(sql, "staging")).rows, [
      ["staging", "/live"],
      ["staging", "/settled"],
    ]);
  });

  for (const sql of ALLOWED)
    it(`answers ${sql.slice(0, 70)}`, async () => {
      const { columns } = await ask(sql, "production");
      assert.ok(columns.length > 0);
    });

  for (const sql of REFUSED)
    it(`refuses ${sql.slice(0, 70)}`, async () => {
      const before = filesIn();
      await assert.rejects(ask(sql.replaceAll("DIR", dir), "production"), (error: unknown) => {
        assert.ok(error instanceof HoldfastError, String(error));
        assert.match(error.code, /^query\.(not_allowed|not_a_select|one_statement|bad_sql)$/);
        return true;
      });
      assert.deepEqual(filesIn(), before, "nothing is written or removed");
      assert.equal((await ask("SELECT count(*) FROM requests")).rows[0]?.[0], "4");
    });

  it("is ended where it takes too long or too much memory, and leaves nothing behind", async () => {
    const slow = "SELECT count(*) FROM range(100000000) a, range(1000000) b";
    const question = { sql: slow, from: 0, to: NOW, limit: 1, timeoutMs: 300 };
    await assert.rejects(new SqlQuery(store).ask(question), /took more than 0.3 s/);
    await assert.rejects(
      ask("SELECT list(r) FROM (SELECT repeat('x', 1000) || range AS r FROM range(2000000))"),
      /more memory than it may/,
    );
    assert.deepEqual(existsSync(join(dir, "spill")) ? readdirSync(join(dir, "spill")) : [], []);
  });

  for (const [sql, message] of [
    // Inside one function DuckDB hears of no interruption, and counts no memory.
    ["SELECT levenshtein(repeat('a', 400000), repeat('b', 400000))", /took more than 1 s/],
    ["SELECT repeat('x', 3000000) FROM range(1000)", /more memory than it may|took more than 1 s/],
    ["SELECT len(repeat('x', 1500000000))", /more memory than it may|took more than 1 s/],
    ["SELECT len(range(0, 200000000))", /more memory than it may|took more than 1 s/],
  ] as const)
    it(`is ended also inside of ${sql}`, async () => {
      const question = { sql, from: 0, to: NOW, limit: 1_000, timeoutMs: 1_000 };
      const began = performance.now();
      const before = process.memoryUsage.rss();
      await assert.rejects(new SqlQuery(store).ask(question), message);
      assert.ok(performance.now() - began < 10_000, "in some seconds");
      assert.ok(process.memoryUsage.rss() - before < 200 * 1024 ** 2, "nothing of it is ours");
    });

  it("waits for nobody of another environment", async () => {
    const endless = "SELECT levenshtein(repeat('a', 400000), repeat('b', 400000))";
    const many = Array.from({ length: 30 }, () =>
      new SqlQuery(store)
        .ask({ sql: endless, environment: "a", from: 0, to: NOW, limit: 1, timeoutMs: 1_500 })
        .then(
          () => "answered",
          (error: unknown) => (error as HoldfastError).code,
        ),
    );
    const began = performance.now();
    assert.equal((await ask("SELECT 1 AS one", "staging")).rows[0]?.[0], 1);
    assert.ok(performance.now() - began < 5_000);
    // Two are asked at once, twenty wait, and the others are told so.
    const codes = await Promise.all(many.slice(22));
    assert.deepEqual(new Set(codes), new Set(["query.busy"]));
    assert.equal(await many[0], "query.too_slow");
  });

  it("says where the mistake is", async () => {
    await assert.rejects(ask("SELECT path FORM requests"), /syntax error at or near "FORM|LINE 1/);
    await assert.rejects(ask("SELECT nothing FROM requests"), /nothing/);
  });
});
