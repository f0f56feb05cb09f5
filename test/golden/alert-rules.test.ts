// Every default alert, judged by Prometheus' own rule tester: it fires for its cause after its time,
// and stays quiet in ordinary weather.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { stringify } from "yaml";
import { run } from "../../src/drivers/exec.ts";
import { ruleGroups } from "../../src/resources/app/alert-rules.ts";
import { manifestSchema } from "../../src/resources/app/manifest.ts";
import { objectivesOf } from "../../src/resources/app/objectives.ts";

const manifest = manifestSchema.parse({
  name: "shop",
  services: { web: { command: "x", routes: [{ host: "shop.localhost" }] } },
});
const groups = ruleGroups(objectivesOf("production", "shop", manifest), [
  { environment: "production", app: "shop", service: "mail", metric: "waiting", max: 100 },
]);

const SERVICE = 'environment="production",app="shop",service="web",release="2"';
const INSTANCE = `${SERVICE},instance="production.shop.web.r2.1"`;
const HOLDS = 'holds="holdfast",mountpoint="/"';
const requests = (code: string): string =>
  `holdfast_requests_total{${SERVICE},from="outside",code="${code}"}`;
const took = (suffix: string, le = ""): string =>
  `holdfast_request_duration_seconds_${suffix}{${SERVICE},from="outside"${le && `,le="${le}"`}}`;

interface Case {
  readonly alert: string;
  /** Series → its values, one each 15 seconds, as promtool writes them. */
  readonly series: Readonly<Record<string, string>>;
  readonly firesBy: string;
  readonly quietAt?: string;
  /** How many fire. */
  readonly count?: number;
}

/** 10 requests a second, answered in 20 ms. */
const FINE: Readonly<Record<string, string>> = {
  [requests("2xx")]: "0+150x400",
  [requests("5xx")]: "0x400",
  [took("count")]: "0+150x400",
  [took("sum")]: "0+3x400",
  [took("bucket", "0.025")]: "0+150x400",
  [took("bucket", "1")]: "0+150x400",
  [took("bucket", "2.5")]: "0+150x400",
  [took("bucket", "5")]: "0+150x400",
  [took("bucket", "+Inf")]: "0+150x400",
  [`holdfast_instance_wanted{${INSTANCE}}`]: "1x400",
  [`holdfast_instance_ready{${INSTANCE}}`]: "1x400",
  [`holdfast_instance_looping{${INSTANCE}}`]: "0x400",
  [`holdfast_instance_memory_bytes{${INSTANCE}}`]: "50x400",
  [`holdfast_instance_memory_limit_bytes{${INSTANCE}}`]: "100x400",
  'holdfast_engine_ready{kind="edge",name="edge"}': "1x400",
  'holdfast_engine_ready{kind="database",environment="production"}': "1x400",
  'holdfast_certificate_expires_seconds{host="shop.localhost"}': "7776000x400",
  'holdfast_telemetry_dropped_total{app="production/shop",what="log_bytes"}': "7x400",
  'up{job="telemetry"}': "1x400",
  'up{job="postgres",environment="production"}': "1x400",
  'pg_stat_activity_count{environment="production",state="idle"}': "20x400",
  'pg_settings_max_connections{environment="production"}': "200x400",
  'waiting{environment="production",app="shop"}': "3x400",
  [`node_filesystem_avail_bytes{${HOLDS}}`]: "900x400",
  [`node_filesystem_size_bytes{${HOLDS}}`]: "1000x400",
  'node_cpu_seconds_total{mode="idle",cpu="0"}': "0+12x400",
  node_timex_offset_seconds: "0.001x400",
  node_timex_maxerror_seconds: "0.2x400",
};

const CASES: readonly Case[] = [
  {
    alert: "HighErrorRate",
    series: { [requests("5xx")]: "0x20 30+30x400" },
    quietAt: "4m",
    firesBy: "6m30s",
  },
  {
    alert: "SlowResponses",
    series: {
      [took("bucket", "0.025")]: "0x400",
      [took("bucket", "1")]: "0x400",
      [took("bucket", "2.5")]: "0x400",
    },
    firesBy: "4m",
  },
  // One in twenty-six fails, which pages nobody at once: burns as fast as all pairs of windows look for.
  {
    alert: "ErrorBudgetBurn",
    series: { [requests("5xx")]: "0x20 6+6x400" },
    quietAt: "4m",
    firesBy: "20m",
    count: 3,
  },
  {
    alert: "CrashLoop",
    series: { [`holdfast_instance_looping{${INSTANCE}}`]: "1x400" },
    firesBy: "1m",
  },
  {
    alert: "InstanceDown",
    series: { [`holdfast_instance_ready{${INSTANCE}}`]: "0x400" },
    quietAt: "30s",
    firesBy: "2m",
  },
  {
    alert: "StoreDown",
    series: { 'holdfast_engine_ready{kind="database",environment="production"}': "0x400" },
    firesBy: "1m",
  },
  {
    alert: "EdgeDown",
    series: { 'holdfast_engine_ready{kind="edge",name="edge"}': "0x400" },
    firesBy: "1m",
  },
  {
    alert: "MemoryNearLimit",
    series: { [`holdfast_instance_memory_bytes{${INSTANCE}}`]: "95x400" },
    quietAt: "3m",
    firesBy: "6m",
  },
  {
    alert: "CertificateNearExpiry",
    series: { 'holdfast_certificate_expires_seconds{host="shop.localhost"}': "864000x400" },
    quietAt: "30m",
    firesBy: "70m",
  },
  {
    alert: "CertificateEnding",
    series: { 'holdfast_certificate_expires_seconds{host="shop.localhost"}': "86400x400" },
    quietAt: "3m",
    firesBy: "7m",
  },
  {
    alert: "CertificateRefused",
    series: { 'holdfast_certificate_refused{host="shop.localhost"}': "1x400" },
    firesBy: "2m",
  },
  {
    alert: "JobFailed",
    series: {
      'holdfast_job_failed{environment="production",app="shop",job_name="nightly"}': "1x400",
    },
    firesBy: "1m",
  },
  {
    alert: "JobMissed",
    series: {
      'holdfast_job_missed{environment="production",app="shop",job_name="nightly"}': "1x400",
    },
    firesBy: "1m",
  },
  {
    alert: "MemoryKill",
    series: {
      [`holdfast_instance_memory_killed_seconds{${INSTANCE}}`]: "30x400",
      [`holdfast_instance_memory_limit_bytes{${INSTANCE}}`]: "67108864x400",
    },
    firesBy: "1m",
  },
  {
    alert: "TelemetryLoss",
    series: {
      'holdfast_telemetry_dropped_total{app="production/shop",what="log_bytes"}': "7x20 8x400",
    },
    quietAt: "4m",
    firesBy: "6m",
  },
  {
    alert: "ConnectionsNearLimit",
    series: { 'pg_stat_activity_count{environment="production",state="idle"}': "190x400" },
    quietAt: "30s",
    firesBy: "2m",
  },
  {
    alert: "CountingDown",
    series: { 'up{job="postgres",environment="production"}': "0x400" },
    quietAt: "4m",
    firesBy: "6m",
  },
  { alert: "TelemetryDown", series: { 'up{job="telemetry"}': "0x400" }, firesBy: "1m" },
  {
    alert: "WorkerBacklog",
    series: { 'waiting{environment="production",app="shop"}': "101x400" },
    quietAt: "1m",
    firesBy: "3m",
  },
  {
    alert: "DiskFilling",
    series: { [`node_filesystem_avail_bytes{${HOLDS}}`]: "390-0.2x400" },
    quietAt: "5m",
    firesBy: "30m",
  },
  {
    alert: "DiskFull",
    series: { [`node_filesystem_avail_bytes{${HOLDS}}`]: "40x400" },
    firesBy: "3m",
  },
  {
    alert: "MachineSaturated",
    series: { 'node_cpu_seconds_total{mode="idle",cpu="0"}': "0+0.3x400" },
    quietAt: "8m",
    firesBy: "20m",
  },
  {
    alert: "ClockOff",
    series: { node_timex_offset_seconds: "2x400" },
    quietAt: "8m",
    firesBy: "11m",
  },
];

const quietly = (code: string, values: string): Record<string, string> => ({
  [requests(code)]: values,
});

describe("default alerts", () => {
  const dir = mkdtempSync(join(tmpdir(), "holdfast-rules-"));
  after(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, "rules.yml"), stringify({ groups }));

  const judge = async (name: string, series: Case["series"], expect: Record<string, number>[]) => {
    const file = join(dir, `${name}.test.yml`);
    const test = {
      rule_files: ["rules.yml"],
      evaluation_interval: "15s",
      tests: [
        {
          interval: "15s",
          input_series: Object.entries(series).map(([one, values]) => ({ series: one, values })),
          promql_expr_test: expect.flatMap((times) =>
            Object.entries(times).map(([eval_time, value]) => ({
              eval_time,
              expr: `count(ALERTS{alertstate="firing"${name === "fine" ? "" : `,alertname="${name}"`}}) or vector(0)`,
              exp_samples: [{ labels: "{}", value }],
            })),
          ),
        },
      ],
    };
    writeFileSync(file, stringify(test));
    const { code, stdout, stderr } = await run(["promtool", "test", "rules", file]);
    assert.equal(code, 0, stdout + stderr);
  };

  it("are all in this test", () => {
    const named = groups.flatMap(({ rules }) =>
      rules.flatMap((rule) => ("alert" in rule ? [rule.alert] : [])),
    );
    assert.deepEqual([...new Set(named)].sort(), CASES.map((one) => one.alert).sort());
  });

  it("are quiet in ordinary weather", () =>
    judge("fine", FINE, [{ "5m": 0, "20m": 0, "60m": 0, "95m": 0 }]));

  it("are quiet where something is near, and not there", async () => {
    const near: Readonly<Record<string, Case["series"]>> = {
      // Full in more than three days; a twentieth of requests fails; nine tenths of a limit.
      DiskFilling: { [`node_filesystem_avail_bytes{${HOLDS}}`]: "390-0.02x400" },
      HighErrorRate: { [requests("5xx")]: "0+7x400" },
      MemoryNearLimit: { [`holdfast_instance_memory_bytes{${INSTANCE}}`]: "90x400" },
      ConnectionsNearLimit: {
        'pg_stat_activity_count{environment="production",state="idle"}': "180x400",
      },
      WorkerBacklog: { 'waiting{environment="production",app="shop"}': "100x400" },
      DiskFull: { [`node_filesystem_avail_bytes{${HOLDS}}`]: "50x400" },
      // A quiet app: a request in two minutes, of which three fail, all of them soon after another.
      ErrorBudgetBurn: {
        ...quietly("2xx", "0x4 1x8 2x8 3x400"),
        ...quietly("5xx", "0x6 1x2 3x400"),
      },
      // A fifth fails: that users feel it was told, and is not told once more while it is in the windows.
      ErrorBudgetBurnTold: { [requests("5xx")]: "0x20 30+30x40 1230x400" },
      // One of ten fails, once: nobody sees a pattern in it.
      HighErrorRateOnce: {
        ...quietly("2xx", "0x40 3x1 6x1 9x400"),
        ...quietly("5xx", "0x40 1x400"),
      },
      // One in twenty-five takes longer.
      SlowResponses: { [took("bucket", "2.5")]: "0+144x400" },
    };
    for (const [name, series] of Object.entries(near))
      await judge(name.replace(/(Once|Told)$/, ""), { ...FINE, ...series }, [
        { "30m": 0, "60m": 0 },
      ]);
  });

  for (const { alert, series, firesBy, quietAt, count = 1 } of CASES)
    it(`${alert} fires by ${firesBy}`, () =>
      judge(alert, { ...FINE, ...series }, [
        ...(quietAt === undefined ? [] : [{ [quietAt]: 0 }]),
        { [firesBy]: count },
      ]));
});
