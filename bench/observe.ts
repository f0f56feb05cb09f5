// What it costs to see, and how true and how soon that is: telemetry and Prometheus beside the shop
// under 50 requests a second; from the first bad answer to a firing alert; figures against those of
// the load generator.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Agent, type Dispatcher } from "undici";
import type { AlertView } from "../src/api/alert-views.ts";
import type { LogLine, ResultTable } from "../src/kernel/signal.ts";
import { AppFolder } from "../test/support/app-folder.ts";
import { Installation, STOREFRONT } from "../test/support/installation.ts";
import { processUse } from "./process-use.ts";

const SETTLE_SECONDS = 60;
const MEASURED_SECONDS = 60;
const TRUTH_SECONDS = 20;
const ALERT_TIMEOUT_MS = 120_000;
const LOOK_EACH_MS = 250;
const WAITING = "waiting.localhost";

/** Answers when it is told to, and fails when it is told to. */
const WAITING_APP = {
  "server.js": `
const http = require("node:http");
http.createServer((request, response) => {
  const asked = new URL(request.url, "http://x").searchParams;
  setTimeout(() => { response.statusCode = Number(asked.get("status")); response.end("."); }, Number(asked.get("ms")));
}).listen(process.env.PORT, process.env.HOST);
process.on("SIGTERM", () => process.exit(0));
`,
  "holdfast.yaml": `
name: waiting
services:
  web: { command: node server.js, routes: [{ host: ${WAITING} }], limits: { requestsPerSecond: 10000 } }
`,
};

interface Answered {
  readonly at: number;
  readonly status: number;
  readonly ms: number;
}

export async function measureObserving(log: (text: string) => void) {
  const installation = new Installation();
  const app = new AppFolder(WAITING_APP, "waiting");
  try {
    await installation.ok("up", "--install");
    await installation.ok("deploy", STOREFRONT);
    await installation.ok("deploy", app.dir);
    const truth = await compare(installation);
    log(`truth: ${JSON.stringify(truth)}`);
    const rest = await atRest(installation);
    log(`at rest: ${JSON.stringify(rest)}`);
    const alertSeconds = await untilAlert(installation);
    log(`alert after ${alertSeconds.toFixed(1)} s`);
    return { truth, rest, alertSeconds };
  } finally {
    await installation.close();
    app.remove();
  }
}

/** Requests at a steady pace until it is stopped; resolves to every answer that there was. */
function load(
  installation: Installation,
  host: string,
  perSecond: number,
  pathOf: (index: number) => string,
) {
  const agent = new Agent({
    connections: 50,
    pipelining: 1,
    allowH2: false,
    connect: { ca: readFileSync(installation.caFile), servername: host },
  });
  const origin = `https://127.0.0.1:${installation.ports.https}`;
  const answered: Answered[] = [];
  const open = new Set<Promise<void>>();
  const began = performance.now();
  let sent = 0;
  const fire = async (options: Dispatcher.RequestOptions): Promise<void> => {
    const at = performance.now();
    const { statusCode, body } = await agent.request(options);
    await body.dump();
    answered.push({ at: Date.now(), status: statusCode, ms: performance.now() - at });
  };
  const timer = setInterval(() => {
    while (sent < ((performance.now() - began) / 1000) * perSecond) {
      const work = fire({ origin, method: "GET", path: pathOf(sent), headers: { host } });
      sent += 1;
      open.add(work);
      void work.finally(() => open.delete(work));
    }
  }, 5);
  return {
    answered,
    stop: async () => {
      clearInterval(timer);
      await Promise.all(open);
      await agent.close();
      return answered;
    },
  };
}

const seconds = (count: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, count * 1_000));

async function compare(installation: Installation) {
  // 20 to 519 ms, one in fifty fails.
  const running = load(
    installation,
    WAITING,
    100,
    (index) => `/?ms=${20 + ((index * 37) % 500)}&status=${index % 50 === 0 ? 500 : 200}`,
  );
  await seconds(TRUTH_SECONDS);
  const answered = await running.stop();
  const { rows } = await installation.json<ResultTable>(
    "query",
    `SELECT count(*), count(*) FILTER (status >= 500), quantile_cont(duration_ms, 0.5),
            quantile_cont(duration_ms, 0.99) FROM requests WHERE host = '${WAITING}'`,
  );
  const [count = 0, errors = 0, p50 = 0, p99 = 0] = (rows[0] ?? []).map(Number);
  const sorted = answered.map(({ ms }) => ms).sort((a, b) => a - b);
  const quantile = (q: number): number => sorted[Math.floor((sorted.length - 1) * q)] ?? 0;
  const off = (seen: number, truth: number): number => Math.abs(seen - truth) / truth;
  return {
    count: [count, answered.length],
    errors: [errors, answered.filter(({ status }) => status >= 500).length],
    p50: [p50, quantile(0.5)],
    p99: [p99, quantile(0.99)],
    p50Off: off(p50, quantile(0.5)),
    p99Off: off(p99, quantile(0.99)),
  };
}

async function atRest(installation: Installation) {
  const running = load(installation, "storefront.localhost", 50, () => "/");
  await seconds(SETTLE_SECONDS);
  const telemetry = await telemetryPid(installation);
  const prometheus = Number(
    readFileSync(join(installation.home, "monitoring", "prometheus", "run", "child"), "utf8").split(
      " ",
    )[0],
  );
  const [ofTelemetry, ofPrometheus] = await Promise.all([
    processUse(telemetry, MEASURED_SECONDS),
    processUse(prometheus, MEASURED_SECONDS),
  ]);
  await running.stop();
  return { telemetry: ofTelemetry, prometheus: ofPrometheus };
}

async function telemetryPid(installation: Installation): Promise<number> {
  const said = ["logs", "--engine", "telemetry", "--text", "telemetry is ready", "--json"];
  const last = (await installation.ok(...said)).trim().split("\n").at(-1) ?? "{}";
  return Number((JSON.parse((JSON.parse(last) as LogLine).text) as { pid: number }).pid);
}

async function untilAlert(installation: Installation): Promise<number> {
  const running = load(installation, "storefront.localhost", 100, () => "/");
  await seconds(10);
  await installation.ok("config", "set", "storefront", "STOREFRONT_FAULT=errors:20%");
  const deadline = Date.now() + ALERT_TIMEOUT_MS;
  try {
    while (Date.now() < deadline) {
      const { alerts } = JSON.parse((await installation.run(["alerts", "--json"])).stdout) as {
        alerts: readonly AlertView[];
      };
      const isFiring = alerts.some(
        ({ alert, state, labels }) =>
          state === "firing" &&
          labels["app"] === "storefront" &&
          (alert === "HighErrorRate" || alert === "ErrorBudgetBurn"),
      );
      const first = running.answered.find(({ status }) => status >= 500);
      if (isFiring && first) return (Date.now() - first.at) / 1000;
      await new Promise((resolve) => setTimeout(resolve, LOOK_EACH_MS));
    }
    return Number.POSITIVE_INFINITY;
  } finally {
    await running.stop();
  }
}

if (process.argv[1] === import.meta.filename) {
  console.log(JSON.stringify(await measureObserving((text) => console.error(text)), null, 2));
  process.exit(0);
}
