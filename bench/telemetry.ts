// What the store of logs and spans does, side by side with what it is made of:
// - lines of one busy instance's standard output to durable, and all the way to Parquet, over writing
//   the same rows straight into DuckDB's appender;
// - bytes per stored record of the shop's own lines;
// - three questions over many stored records.
//
// `node bench/telemetry.ts`; HOLDFAST_BENCH_ROWS says over how many records the questions are asked.

import { appendFileSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DuckDBInstance, DuckDBTimestampValue } from "@duckdb/node-api";
import type { Signal } from "../src/kernel/signal.ts";
import { LogCollector } from "../src/telemetry/log-collector.ts";
import { MonotonicClock } from "../src/telemetry/log-journal.ts";
import { LogQuery } from "../src/telemetry/log-query.ts";
import { TABLES } from "../src/telemetry/store/tables.ts";
import { TelemetryStore } from "../src/telemetry/store/telemetry-store.ts";
import { TraceQuery } from "../src/telemetry/trace-query.ts";
import { writeTable } from "./readme-table.ts";

const LINES = 1_000_000;
const DAYS = 7;
const DAY_MS = 24 * 3_600_000;
const QUESTION_ROUNDS = 5;
const WHO = {
  app: "production/storefront",
  service: "web",
  release: 12,
  instance: "production.storefront.web.r12.1",
  role: "service",
};

export async function measureTelemetry(
  log: (text: string) => void,
  rows = Number(process.env["HOLDFAST_BENCH_ROWS"] ?? 50_000_000),
) {
  const dir = mkdtempSync(join(tmpdir(), "holdfast-bench-"));
  try {
    const intake = await measureIntake(dir);
    log(`intake: ${JSON.stringify(intake)}`);
    const questions = await measureQuestions(dir, rows, log);
    return { ...intake, ...questions };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** A line as the shop writes it; paths, times and traces differ. */
function shopLine(i: number): string {
  const trace = (0x653e2f1a2b3c4n + BigInt(i) * 977n).toString(16).padStart(16, "0");
  const chance = ((i * 2_654_435_761) % 4_294_967_296).toString(16).padStart(16, "0");
  return i % 50 === 0
    ? `{"level":"error","message":"request failed","path":"/api/orders/${i % 5_000}","error":"not enough of mug-enamel in stock","trace_id":"${trace}${chance}","span_id":"${chance}"}`
    : `{"level":"info","message":"mail sent","mail":"${Number.parseInt(chance, 16) % 10_000_000}","ms":${(i * 7_919) % 977}}`;
}

const open = (dir: string): Promise<TelemetryStore> => {
  mkdirSync(dir, { recursive: true });
  return TelemetryStore.open({
    dir,
    now: Date.now,
    policies: () => ({}),
    isSource: () => true,
    onProblem: (what) => {
      throw new Error(what);
    },
    onDropped: () => undefined,
  });
};

async function measureIntake(dir: string) {
  const sources = join(dir, "sources");
  mkdirSync(sources);
  writeFileSync(join(sources, "web.log.json"), JSON.stringify(WHO));
  for (let i = 0; i < LINES; i += 10_000)
    appendFileSync(
      join(sources, "web.log"),
      Array.from({ length: 10_000 }, (_, at) => `${shopLine(i + at)}\n`).join(""),
    );
  const store = await open(join(dir, "intake"));
  const collector = new LogCollector({
    dir: sources,
    offsets: {},
    append: (lines, mark) => store.append("logs", lines, mark),
    clock: new MonotonicClock(Date.now),
    now: Date.now,
    punchHole: async () => undefined,
    onSkipped: () => undefined,
  });
  const { size } = statSync(join(sources, "web.log"));
  const cpu = process.cpuUsage();
  const began = performance.now();
  while ((store.signals.logs.offsets()["web.log"] ?? 0) < size) await collector.collect();
  const durableMs = performance.now() - began;
  await store.signals.logs.settle();
  const settledMs = performance.now() - began;
  const { user, system } = process.cpuUsage(cpu);
  const files = store.archive.files("logs");
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const stored = files.reduce((sum, file) => sum + file.rows, 0);
  await store.close();
  if (stored !== LINES) throw new Error(`${stored} of ${LINES} lines were stored`);
  const appenderMs = await writeWithAppender(join(dir, "appender.db"));
  return {
    durablePerSecond: LINES / (durableMs / 1000),
    storedPerCpuSecond: LINES / ((user + system) / 1e6),
    overAppender: appenderMs / settledMs,
    bytesPerRecord: bytes / LINES,
  };
}

/** The same rows, level and trace already known, into a table of a database file. */
async function writeWithAppender(path: string): Promise<number> {
  const instance = await DuckDBInstance.create(path, { threads: "1" });
  const connection = await instance.connect();
  await connection.run(
    "CREATE TABLE logs (time TIMESTAMP, environment VARCHAR, app VARCHAR, service VARCHAR, release INTEGER, instance VARCHAR, level VARCHAR, trace_id VARCHAR, span_id VARCHAR, text VARCHAR)",
  );
  const lines = Array.from({ length: LINES }, (_, i) => shopLine(i));
  const began = performance.now();
  const appender = await connection.createAppender("logs");
  let at = BigInt(Date.now()) * 1000n;
  for (const line of lines) {
    at += 1n;
    appender.appendTimestamp(new DuckDBTimestampValue(at));
    appender.appendVarchar("production");
    appender.appendVarchar("storefront");
    appender.appendVarchar(WHO.service);
    appender.appendInteger(WHO.release);
    appender.appendVarchar(WHO.instance);
    appender.appendVarchar("info");
    appender.appendVarchar("");
    appender.appendVarchar("");
    appender.appendVarchar(line);
    appender.endRow();
  }
  appender.closeSync();
  await connection.run("CHECKPOINT");
  const tookMs = performance.now() - began;
  connection.closeSync();
  instance.closeSync();
  return tookMs;
}

// Records over a week, made by the database itself in the shape that the store gives them, an hour
// at a time; then asked for through the store as a person would.
async function measureQuestions(dir: string, rows: number, log: (text: string) => void) {
  const store = await open(join(dir, "questions"));
  const now = Date.now();
  const traceId = traceIdAt(now - 3 * DAY_MS);
  const hours = DAYS * 24;
  const perHour = Math.ceil(rows / hours / 2);
  const began = performance.now();
  for (let hour = 0; hour < hours; hour += 1) {
    const from = now - (hours - hour) * 3_600_000;
    await importHour(store, "logs", from, logRows(from, perHour, hour));
    await importHour(store, "spans", from, spanRows(from, perHour, traceId));
    if (hour % 24 === 23)
      log(`day ${(hour + 1) / 24}: ${Math.round(performance.now() - began)} ms`);
  }
  const logs = new LogQuery(store, Date.now, async () => undefined);
  const traces = new TraceQuery(store);
  const seconds = async (what: string, ask: () => Promise<number>): Promise<number> => {
    const took: number[] = [];
    for (let round = 0; round < QUESTION_ROUNDS; round += 1) {
      const at = performance.now();
      const found = await ask();
      took.push((performance.now() - at) / 1000);
      if (found === 0) throw new Error(`${what}: nothing was found`);
    }
    return took.toSorted((a, b) => a - b)[Math.floor(QUESTION_ROUNDS / 2)] ?? 0;
  };
  const rareTextS = await seconds("a rare text", async () => {
    const filter = {
      app: "storefront",
      text: "a needle in the hay",
      from: now - DAY_MS,
      limit: 100,
    };
    return (await logs.find(filter)).length;
  });
  const lastHourS = await seconds("the last hour", async () => {
    const extent = { from: now - 3_600_000, to: now };
    const sql = `SELECT service, level, count(*) FROM (${store.rows("logs", extent)}) GROUP BY ALL`;
    return (await store.database.read(sql)).length;
  });
  const traceS = await seconds("a trace", async () => (await traces.get(traceId)).length);
  const stored = store.archive.allFiles().reduce((sum, file) => sum + file.rows, 0);
  await store.close();
  return { storedRecords: stored, rareTextS, lastHourS, traceS };
}

/** As a file of an hour that is over lies in the store. */
async function importHour(
  store: TelemetryStore,
  signal: Signal,
  from: number,
  select: string,
): Promise<void> {
  const { columns, order, rowGroupRows } = TABLES[signal];
  const hour = new Date(from).toISOString().slice(0, 13);
  const path = store.archive.place(signal, "production", hour, `import-${from}`);
  const whole = join(store.archive.dir, path);
  const names = columns.map(({ name }) => name).join(", ");
  await store.database.write(
    `COPY (SELECT * FROM (${select}) AS made(${names}) ORDER BY ${order}) TO '${whole}' ` +
      `(FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, ROW_GROUP_SIZE ${rowGroupRows})`,
  );
  const [counted] = await store.database.read(
    `SELECT count(*)::DOUBLE AS n FROM read_parquet('${whole}')`,
  );
  const { size } = statSync(whole);
  const extent = { from, to: from + 3_600_000 };
  const rows = Number(counted?.["n"]);
  store.archive.replace(
    [],
    [{ signal, environment: "production", hour, path, rows, bytes: size, ...extent }],
  );
}

const WHOSE =
  "'production', 'storefront', ['web', 'api', 'worker'][1 + i % 3], 12, 'production.storefront.web.r12.1'";
/** One trace in the middle of the week; ids of others differ in their chance only. */
const traceIdAt = (ms: number): string =>
  `${(Math.floor(ms / 1000) * 1_000_000).toString(16).padStart(16, "0")}00000000deadbeef`;

function logRows(from: number, count: number, hour: number): string {
  const step = Math.floor(3_600_000_000 / count);
  const needle =
    hour === DAYS * 24 - 5 ? `WHEN i = ${Math.floor(count / 2)} THEN 'a needle in the hay'` : "";
  return `
    SELECT make_timestamp(${from * 1000} + i * ${step}), ${WHOSE},
           CASE WHEN i % 50 = 0 THEN 'error' ELSE 'info' END, '', '',
           CASE ${needle} WHEN i % 50 = 0 THEN '{"level":"error","message":"request failed","path":"/api/orders/' || i % 5000 || '"}'
                ELSE '{"level":"info","message":"mail sent","mail":"' || hash(i) % 1000000 || '"}' END
    FROM range(${count}) AS t(i)`;
}

function spanRows(from: number, count: number, known: string): string {
  const step = Math.floor(3_600_000_000 / count);
  const at = `(${from * 1000} + i * ${step})`;
  const knownUs = Number.parseInt(known.slice(0, 16), 16);
  const inHour = knownUs >= from * 1000 && knownUs < (from + 3_600_000) * 1000;
  const spans = `
    SELECT make_timestamp(${at}), 1500 + i % 977, ${WHOSE},
           lpad(to_hex(${at} // 4 * 4), 16, '0') || lpad(to_hex(hash(i // 4) % 4294967296), 16, '0'),
           lpad(to_hex(hash(i)), 16, '0'), '', 'SELECT', 'client', '', 'storefront',
           '{"db.system.name":"postgresql","db.operation.name":"SELECT"}', ''
    FROM range(${count}) AS t(i)`;
  if (!inHour) return spans;
  return `${spans} UNION ALL
    SELECT make_timestamp(${knownUs}), 100, ${WHOSE}, '${known}', lpad(to_hex(i), 16, '0'), '', 'SELECT', 'client', '', 'storefront', '{}', ''
    FROM range(1, 7) AS t(i)`;
}

if (import.meta.main) {
  const result = await measureTelemetry((text) => console.error(text));
  console.log(JSON.stringify(result, null, 2));
  const millions = `${(result.storedRecords / 1e6).toFixed(0)} million stored records`;
  writeTable("telemetry", [
    [
      "log lines of one instance to durable, per second",
      "≥ 150,000",
      `${Math.round(result.durablePerSecond / 1_000)},000`,
    ],
    [
      "the same all the way to Parquet, per second of one core",
      "",
      `${Math.round(result.storedPerCpuSecond / 1_000)},000`,
    ],
    [
      "the same over writing these rows straight into DuckDB's appender",
      "≥ 0.4",
      result.overAppender.toFixed(2),
    ],
    ["bytes per stored log record of the shop", "≤ 30", result.bytesPerRecord.toFixed(1)],
    [`${millions}: a rare text in the last day`, "≤ 1.5 s", `${result.rareTextS.toFixed(2)} s`],
    ["the last hour by service and level", "≤ 0.3 s", `${result.lastHourS.toFixed(3)} s`],
    ["a trace by its id", "≤ 0.1 s", `${result.traceS.toFixed(3)} s`],
  ]);
}
