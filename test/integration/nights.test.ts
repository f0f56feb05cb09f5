// Nights: what goes wrong in an hour, and how many messages somebody gets of it. Prometheus' own rule
// tester says what fires when; a real Alertmanager, with our configuration and sixty seconds in one,
// groups it, holds back what is explained, and tells.

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { stringify } from "yaml";
import { run } from "../../src/drivers/exec.ts";
import { renderAlertmanager } from "../../src/drivers/prometheus/alertmanager-config.ts";
import { groupOf, ToldGroups } from "../../src/operations/told-groups.ts";
import { ruleGroups } from "../../src/resources/app/alert-rules.ts";
import { manifestSchema } from "../../src/resources/app/manifest.ts";
import { objectivesOf } from "../../src/resources/app/objectives.ts";
import { until } from "../support/wait.ts";

const STEP_S = 15;
const MINUTES = 60;
const STEPS = (MINUTES * 60) / STEP_S;
const FASTER = 60;

type Labels = Readonly<Record<string, string>>;
/** Series → its value at a minute, or what it grows by in a second then. */
type Series = Readonly<
  Record<string, { at?: (m: number) => number; rate?: (m: number) => number }>
>;

interface Night {
  readonly name: string;
  readonly series: Series;
  /** What the platform knows to be away, by minute. */
  readonly away?: { readonly what: string; readonly from: number; readonly to: number };
  /** Messages that wake somebody; and all of them. */
  readonly wakes: number;
  readonly messages: number;
}

const between = (m: number, from: number, to: number): boolean => m >= from && m < to;

/** Ten requests in a second, of which a share fails and a share is slow. */
function app(
  name: string,
  failing: (m: number) => number = () => 0,
  slow: (m: number) => number = () => 0,
  perSecond = 10,
): Series {
  const of = `environment="production",app="${name}",service="web",release="2",from="outside"`;
  const took = (suffix: string, le = ""): string =>
    `holdfast_request_duration_seconds_${suffix}{${of}${le && `,le="${le}"`}}`;
  const quick = { rate: (m: number) => perSecond * (1 - slow(m)) };
  return {
    [`holdfast_requests_total{${of},code="2xx"}`]: { rate: (m) => perSecond * (1 - failing(m)) },
    [`holdfast_requests_total{${of},code="5xx"}`]: { rate: (m) => perSecond * failing(m) },
    [took("count")]: { rate: () => perSecond },
    [took("bucket", "1")]: quick,
    [took("bucket", "2.5")]: quick,
    [took("bucket", "+Inf")]: { rate: () => perSecond },
  };
}

const instance = (name: string, ready: (m: number) => number, looping = ready): Series => {
  const of = `environment="production",app="${name}",service="web",release="2",instance="production.${name}.web.r2.1"`;
  return {
    [`holdfast_instance_wanted{${of}}`]: { at: () => 1 },
    [`holdfast_instance_ready{${of}}`]: { at: ready },
    [`holdfast_instance_looping{${of}}`]: { at: (m) => 1 - looping(m) },
  };
};

const engine = (labels: string, from = 0, to = 0): Series => ({
  [`holdfast_engine_ready{${labels}}`]: { at: (m) => (between(m, from, to) ? 0 : 1) },
});

const NIGHTS: readonly Night[] = [
  {
    name: "a release that fails a third of its requests, is slow, and loses an instance",
    series: {
      ...app(
        "shop",
        (m) => (between(m, 10, 22) ? 0.33 : 0),
        (m) => (between(m, 11, 22) ? 0.2 : 0),
      ),
      ...instance(
        "shop",
        (m) => (between(m, 12, 20) ? 0 : 1),
        () => 1,
      ),
    },
    wakes: 1,
    messages: 4,
  },
  {
    name: "a cache that hangs, which two apps need and one does not",
    series: {
      ...app("shop", (m) => (between(m, 10, 18) ? 1 : 0)),
      ...app("pay", (m) => (between(m, 10, 18) ? 0.5 : 0)),
      ...app("blog"),
      ...instance(
        "shop",
        (m) => (between(m, 10.5, 18.5) ? 0 : 1),
        () => 1,
      ),
      ...engine('kind="cache",environment="production"', 10.25, 18),
    },
    away: { what: "the cache of production is silent", from: 10, to: 18 },
    wakes: 1,
    messages: 5,
  },
  {
    name: "an instance that the kernel ends again and again for its memory",
    series: {
      ...app("shop", (m) => (between(m, 10, 40) && m % 3 < 0.5 ? 0.1 : 0)),
      ...instance("shop", (m) => (between(m, 10, 40) && m % 3 < 2 ? 0 : 1)),
      'holdfast_instance_memory_limit_bytes{environment="production",app="shop",service="web",release="2",instance="production.shop.web.r2.1"}':
        { at: () => 67_108_864 },
      'holdfast_instance_memory_killed_seconds{environment="production",app="shop",service="web",release="2",instance="production.shop.web.r2.1"}':
        { at: (m) => (m < 10 ? -3_600 : Math.min(Math.floor(m / 3) * 3, 40) * 60) },
    },
    wakes: 1,
    messages: 4,
  },
  {
    name: "an edge that is down for three minutes",
    series: {
      ...app("shop", (m) => (between(m, 10, 13) ? 1 : 0)),
      ...app("pay", (m) => (between(m, 10, 13) ? 1 : 0)),
      ...instance(
        "shop",
        (m) => (between(m, 10, 13.5) ? 0 : 1),
        () => 1,
      ),
      ...engine('kind="edge",name="edge"', 10, 13),
    },
    away: { what: "the edge is stopped", from: 10, to: 13 },
    wakes: 1,
    messages: 2,
  },
  {
    name: "a job that fails at each of its runs",
    series: {
      'holdfast_job_failed{environment="production",app="shop",job_name="nightly"}': {
        at: (m) => (m >= 10 ? 1 : 0),
      },
    },
    wakes: 1,
    messages: 1,
  },
  {
    name: "a quiet app of which one request fails",
    series: app(
      "shop",
      (m) => (between(m, 10, 10.25) ? 1 : 0),
      () => 0,
      0.07,
    ),
    wakes: 0,
    messages: 0,
  },
  {
    name: "a dependency that is slow for a minute, again and again",
    series: app(
      "shop",
      () => 0,
      (m) => (between(m, 10, 40) && m % 4 < 1.5 ? 0.5 : 0),
    ),
    wakes: 1,
    messages: 2,
  },
  {
    name: "a certificate that nobody renewed",
    series: {
      'holdfast_certificate_expires_seconds{host="shop.example.com"}': { at: () => 2 * 86_400 },
    },
    wakes: 1,
    messages: 2,
  },
  {
    name: "a job that failed, and half an hour later an outage",
    series: {
      ...app("shop", (m) => (between(m, 40, 46) ? 0.5 : 0)),
      'holdfast_job_failed{environment="production",app="shop",job_name="nightly"}': {
        at: (m) => (m >= 5 ? 1 : 0),
      },
    },
    wakes: 2,
    messages: 3,
  },
  {
    name: "a certificate that ends, and then the edge",
    series: {
      'holdfast_certificate_expires_seconds{host="shop.example.com"}': { at: () => 2 * 86_400 },
      ...engine('kind="edge",name="edge"', 30, 33),
    },
    wakes: 2,
    messages: 3,
  },
  {
    name: "a worker that is behind, which is a ticket, and then the edge",
    series: {
      'waiting{environment="production",app="shop"}': { at: () => 500 },
      ...engine('kind="edge",name="edge"', 20, 23),
    },
    wakes: 1,
    messages: 3,
  },
  {
    name: "a cache that was down, and an app that fails once it is back",
    series: {
      ...app("shop", (m) => (between(m, 10, 14) || between(m, 30, 34) ? 0.5 : 0)),
      ...engine('kind="cache",environment="production"', 10.25, 14),
    },
    away: { what: "the cache of production is silent", from: 10, to: 14 },
    wakes: 2,
    messages: 6,
  },
];

const manifest = manifestSchema.parse({
  name: "shop",
  services: { web: { command: "x", routes: [{ host: "shop.localhost" }] } },
});
const groups = ruleGroups(
  ["shop", "pay", "blog"].flatMap((name) => objectivesOf("production", name, manifest)),
  [{ environment: "production", app: "shop", service: "mail", metric: "waiting", max: 100 }],
);
const STORES = [{ environment: "production", kind: "cache", apps: ["pay", "shop"] }];

describe("nights", { timeout: 400_000, concurrency: NIGHTS.length }, () => {
  const dir = mkdtempSync(join(tmpdir(), "holdfast-nights-"));
  after(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, "rules.yml"), stringify({ groups }));

  for (const [index, night] of NIGHTS.entries())
    it(`${night.name}: ${night.wakes} of ${night.messages} messages wake somebody`, async () => {
      const fires = await firing(dir, index, night.series);
      assert.equal(
        night.messages > 0,
        fires.some((alerts) => alerts.length > 0),
      );
      const told = await play(dir, index, night, fires);
      const text = told.map(({ minute, kind, alerts }) => `${minute.toFixed(1)} ${kind} ${alerts}`);
      const wakes = told.filter(({ kind, isPage }) => kind === "first" && isPage);
      if (process.env["HOLDFAST_NIGHTS"]) console.log(night.name, text);
      assert.ok(wakes.length === night.wakes, `${wakes.length} woke somebody:\n${text.join("\n")}`);
      assert.ok(told.length <= night.messages, `${told.length} messages:\n${text.join("\n")}`);
    });
});

/** Alerts that fire at each step, as Prometheus' rule tester evaluates the rules. */
async function firing(dir: string, index: number, series: Series): Promise<readonly Labels[][]> {
  const file = join(dir, `${index}.test.yml`);
  const times = Array.from({ length: STEPS }, (_, step) => step);
  const test = {
    rule_files: ["rules.yml"],
    evaluation_interval: `${STEP_S}s`,
    tests: [
      {
        interval: `${STEP_S}s`,
        input_series: Object.entries(series).map(([name, one]) => ({
          series: name,
          values: valuesOf(one),
        })),
        // Nothing is expected: what is there is in the answer.
        promql_expr_test: times.map((step) => ({
          eval_time: `${step * STEP_S}s`,
          expr: 'ALERTS{alertstate="firing"}',
          exp_samples: [],
        })),
      },
    ],
  };
  writeFileSync(file, stringify(test));
  const { stdout, stderr } = await run(["promtool", "test", "rules", file], {
    timeoutMs: 120_000,
    outputMaxChars: 50_000_000,
  });
  const fires: Labels[][] = times.map(() => []);
  const answers = `${stdout}${stderr}`.matchAll(/time: ([\dhms]+),\s+exp: ?.*\s+got: ?(.*)/g);
  for (const [, time = "", got = ""] of answers) {
    const labels = [...got.matchAll(/\{(__name__="ALERTS".*?)\} 1E\+00/g)].map(([, text = ""]) =>
      Object.fromEntries(
        [...text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key = "", value = ""]) => [
          key,
          value,
        ]),
      ),
    );
    fires[secondsOf(time) / STEP_S] = labels.map(
      ({ __name__: _, alertstate: __, ...rest }) => rest,
    );
  }
  return fires;
}

function valuesOf({ at, rate }: Series[string]): string {
  let sum = 0;
  return Array.from({ length: STEPS }, (_, step) => {
    const minute = (step * STEP_S) / 60;
    if (at) return at(minute);
    sum += (rate?.(minute) ?? 0) * STEP_S;
    return Math.round(sum);
  }).join(" ");
}

/** `1h2m3s` → 3723 */
const secondsOf = (time: string): number =>
  [...time.matchAll(/(\d+)([hms])/g)].reduce(
    (sum, [, count, unit]) => sum + Number(count) * (unit === "h" ? 3_600 : unit === "m" ? 60 : 1),
    0,
  );

/** One that is free now; whoever is quicker makes the start fail, and the test. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

interface Told {
  readonly minute: number;
  readonly kind: string;
  readonly isPage: boolean;
  readonly alerts: string;
}

/** Sixty times as fast, to an Alertmanager that has the configuration of an installation. */
async function play(
  dir: string,
  index: number,
  { away }: Night,
  fires: readonly (readonly Labels[])[],
): Promise<readonly Told[]> {
  const told: Told[] = [];
  const known = new ToldGroups();
  let minute = 0;
  const hook = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (chunk) => {
      body += chunk;
    });
    request.on("end", () => {
      const { groupKey, alerts } = JSON.parse(body) as {
        groupKey: string;
        alerts: { status: string; labels: Labels }[];
      };
      const isAway = away !== undefined && between(minute, away.from, away.to);
      const firing = alerts
        .filter(({ status }) => status === "firing")
        .map(({ labels }) => JSON.stringify(labels));
      const group = groupOf(alerts, { channel: "phone", key: groupKey, firing }, (name) => ({
        needs: name.endsWith("/blog") ? ["edge"] : ["edge", "cache production"],
        ...(isAway && !name.endsWith("/blog") && { broken: away.what }),
      }));
      const kind = known.kindOf(group, minute * 60_000);
      known.told(group, kind, minute * 60_000);
      const names = alerts.map(({ status, labels }) => `${labels["alertname"]} ${status}`);
      const isPage = alerts.some(({ labels }) => labels["severity"] === "page");
      if (kind !== "none")
        told.push({ minute, kind, isPage, alerts: `${group.about}: ${names.join(", ")}` });
      response.end();
    });
  });
  await new Promise<void>((resolve) => hook.listen(0, "127.0.0.1", resolve));
  const alertmanager = await start(dir, index, (hook.address() as AddressInfo).port);
  try {
    const began = Date.now();
    const last = new Map<string, { labels: Labels; since: string }>();
    for (const [step, alerts] of fires.entries()) {
      minute = (step * STEP_S) / 60;
      await alertmanager.tell(alerts, last);
      const due = began + ((step + 1) * STEP_S * 1_000) / FASTER;
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - Date.now())));
    }
    return told;
  } finally {
    alertmanager.process.kill("SIGKILL");
    hook.close();
    hook.closeAllConnections();
  }
}

async function start(dir: string, index: number, hookPort: number) {
  const own = join(dir, `alertmanager-${index}`);
  const config = renderAlertmanager({
    channels: [{ name: "phone", severities: ["page", "ticket"] }],
    stores: STORES,
    deliverUrl: `http://127.0.0.1:${hookPort}`,
    tokenFile: join(dir, "token"),
  })["alertmanager.yml"];
  writeFileSync(join(dir, "token"), "x");
  const faster = (config ?? "").replaceAll(
    /(group_wait|group_interval|repeat_interval): (\d+)([smh])/g,
    (_, key: string, count: string, unit: string) =>
      `${key}: ${Math.round((secondsOf(`${count}${unit}`) * 1_000) / FASTER)}ms`,
  );
  const file = join(dir, `${index}.yml`);
  writeFileSync(file, faster);
  const port = await freePort();
  const process: ChildProcess = spawn(
    "prometheus-alertmanager",
    [
      `--config.file=${file}`,
      `--storage.path=${own}`,
      `--web.listen-address=127.0.0.1:${port}`,
      "--cluster.listen-address=",
    ],
    { stdio: "ignore" },
  );
  const base = `http://127.0.0.1:${port}`;
  await until("Alertmanager is ready", () =>
    fetch(`${base}/-/ready`).then(
      ({ ok }) => ok,
      () => false,
    ),
  );
  const tell = async (
    alerts: readonly Labels[],
    last: Map<string, { labels: Labels; since: string }>,
  ): Promise<void> => {
    const now = Date.now();
    const current = new Map(alerts.map((labels) => [JSON.stringify(labels), labels]));
    const ended = [...last].filter(([key]) => !current.has(key));
    for (const [key, labels] of current)
      if (!last.has(key)) last.set(key, { labels, since: new Date(now).toISOString() });
    for (const [key] of ended) last.delete(key);
    const told = [
      ...[...last.values()].map(({ labels, since }) => ({
        labels,
        startsAt: since,
        endsAt: new Date(now + 60_000).toISOString(),
      })),
      ...ended.map(([, { labels, since }]) => ({
        labels,
        startsAt: since,
        endsAt: new Date(now).toISOString(),
      })),
    ];
    if (told.length === 0) return;
    const answer = await fetch(`${base}/api/v2/alerts`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(told),
    });
    assert.ok(answer.ok, await answer.text());
  };
  return { process, tell };
}
