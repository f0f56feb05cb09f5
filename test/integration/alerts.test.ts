// From the first bad request to whoever is told of it: real Prometheus and Alertmanager, a mail
// server and a webhook that check what they get.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders } from "node:http";
import { Agent, request } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { AlertView } from "../../src/api/alert-views.ts";
import type { Forecast } from "../../src/api/insight-routes.ts";
import type { TopRow } from "../../src/api/monitoring-routes.ts";
import { runOrThrow } from "../../src/drivers/exec.ts";
import type { ResultTable } from "../../src/kernel/signal.ts";
import type { ObjectiveView } from "../../src/operations/error-budget.ts";
import type { AlertNotice } from "../../src/resources/channel/channel.ts";
import { AppFolder } from "../support/app-folder.ts";
import { ask } from "../support/ask.ts";
import { Installation } from "../support/installation.ts";
import { MailServer } from "../support/mail-server.ts";
import { until } from "../support/wait.ts";

const SERVER = `
let n = 0;
const share = Number(process.env.FAIL_EACH ?? 0);
require("node:http").createServer((request, response) => {
  if (request.url === "/metrics") return response.end("# TYPE jobs_waiting gauge\\njobs_waiting 42\\n");
  n += 1;
  response.writeHead(share > 0 && n % share === 0 ? 500 : 200).end("x");
}).listen(process.env.PORT, process.env.HOST);
`;
// Nothing takes its bad releases back: here they are to be told of.
const MANIFEST = `name: faulty
rollout: { watch: 0s }
services:
  web:
    command: node server.js
    routes: [{ host: faulty.localhost }]
    metrics: {}
`;

interface Told {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

describe("alerts", { timeout: 480_000 }, () => {
  const holdfast = new Installation();
  const folder = new AppFolder({ "server.js": SERVER, "holdfast.yaml": MANIFEST }, "faulty");
  const mails = new MailServer();
  const told: Told[] = [];
  let refusals = 0;
  const hook = createServer((incoming, response) => {
    let body = "";
    incoming.setEncoding("utf8").on("data", (chunk) => {
      body += chunk;
    });
    incoming.on("end", () => {
      if (refusals > 0) {
        refusals -= 1;
        return void response.writeHead(503).end("not now");
      }
      told.push({ headers: incoming.headers, body });
      response.end("thanks");
    });
  });
  let hookUrl = "";
  let signingKey = "";
  const agent = new Agent({ keepAlive: true, maxSockets: 10 });

  /** Requests at this rate until it is stopped; gives what the generator knows. */
  const load = (perSecond: number): (() => Promise<{ requests: number; errors: number }>) => {
    const counted = { requests: 0, errors: 0 };
    const underWay = new Set<Promise<void>>();
    const host = "faulty.localhost";
    const one = (): Promise<void> =>
      new Promise((resolve) => {
        const options = { host: "127.0.0.1", port: holdfast.ports.https, servername: host, agent };
        request({ ...options, headers: { host }, rejectUnauthorized: false }, (answer) => {
          counted.requests += 1;
          if ((answer.statusCode ?? 0) >= 500) counted.errors += 1;
          answer.resume().on("end", resolve);
        })
          .on("error", () => resolve())
          .end();
      });
    const timer = setInterval(() => {
      const asked = one().finally(() => underWay.delete(asked));
      underWay.add(asked);
    }, 1000 / perSecond);
    return async () => {
      clearInterval(timer);
      await Promise.all(underWay);
      return counted;
    };
  };

  /** What a message leads to can be opened from where users come from, and is no more than that. */
  const assertOpens = async (alert: AlertNotice | undefined): Promise<void> => {
    assert.match(alert?.firstStep ?? "", /^holdfast traces faulty --errors/);
    const { hostname: host, pathname } = new URL(alert?.runbookUrl ?? "");
    const page = await ask(holdfast, { host, path: pathname });
    assert.equal(page.status, 200);
    assert.match(page.text, /<h1>HighErrorRate<\/h1>[\s\S]*holdfast rollback/);
    assert.match(String(page.headers["content-security-policy"]), /default-src 'none'/);
    const folder = pathname.replace(/[^/]*$/, "");
    for (const name of ["nothing", "..%2f..%2fstate%2fadmin.token", "high-error-rate.md"]) {
      const other = await ask(holdfast, { host, path: folder + name });
      assert.equal(other.text, "x", `${name} is the app's`);
    }
    assert.equal((await ask(holdfast, { host, path: pathname, method: "POST" })).status, 405);
  };

  before(async () => {
    await holdfast.ok("up", "--install");
    await holdfast.ok("deploy", folder.dir);
    await new Promise<void>((resolve) => hook.listen(0, "127.0.0.1", resolve));
    hookUrl = `http://127.0.0.1:${(hook.address() as AddressInfo).port}/hook`;
  });
  after(async () => {
    agent.destroy();
    hook.close();
    mails.close();
    await holdfast.close();
    folder.remove();
  });

  it("has rules and configuration that Prometheus' and Alertmanager's own tools accept", async () => {
    const dir = join(holdfast.home, "monitoring");
    await until("they are written", async () => {
      const { engines } = await holdfast.status<{
        engines: { kind: string; state: string }[];
      }>();
      return engines.every(({ state }) => state === "ready");
    });
    assert.match(
      await runOrThrow(["promtool", "check", "config", join(dir, "prometheus", "prometheus.yml")]),
      /SUCCESS/,
    );
    assert.match(
      await runOrThrow(["amtool", "check-config", join(dir, "alertmanager", "alertmanager.yml")]),
      /SUCCESS/,
    );
  });

  it("adds channels whose address stays sealed, and tests each", async () => {
    const address = `smtp://127.0.0.1:${await mails.listen()}`;
    const mail = ["channel", "add", "mail", "--type", "email", "--to", "ops@example.com"];
    assert.equal((await holdfast.run(mail, address)).code, 0);
    const added = await holdfast.run(
      ["channel", "add", "hook", "--type", "webhook", "--json"],
      hookUrl,
    );
    signingKey = (JSON.parse(added.stdout) as { signingKey: string }).signingKey;
    assert.match(signingKey, /^whsec_/);
    await holdfast.ok("channel", "test", "mail");
    await holdfast.ok("channel", "test", "hook");
    assert.match(mails.mails[0] ?? "", /Subject: FIRING: Test/);
    assert.match(mails.mails[0] ?? "", /To: ops@example.com/);
    assert.equal(told.length, 1);
    assert.doesNotMatch(await holdfast.ok("channel", "list"), /127\.0\.0\.1/);
    assert.doesNotMatch(await holdfast.ok("audit", "--json"), /127\.0\.0\.1/);
  });

  it("says what a channel that is down answered", async () => {
    refusals = 1;
    const { code, stderr } = await holdfast.run(["channel", "test", "hook"]);
    assert.equal(code, 75);
    assert.match(stderr, /it answered 503: not now/);
    const wrong = await holdfast.run(
      ["channel", "add", "x", "--type", "pigeon"],
      "http://x.example",
    );
    assert.equal(wrong.code, 2);
  });

  it("tells of errors at 20 % within a minute, of the release, and when it is over", async () => {
    const quiet = load(100);
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    told.length = 0;
    // The first delivery is refused: it must be tried again.
    refusals = 1;
    await holdfast.ok("config", "set", "faulty", "FAIL_EACH=5");
    const began = Date.now();
    await until("somebody is told", () => told.length > 0);
    const tookMs = Date.now() - began;
    assert.ok(tookMs < 60_000, `${tookMs} ms`);
    const [first] = told;
    const { type, data } = JSON.parse(first?.body ?? "{}") as {
      type: string;
      data: { kind: string; alerts: AlertNotice[] };
    };
    assert.equal(type, "alert.firing");
    assert.equal(data.kind, "first");
    const alert = data.alerts.find(
      (one) => one.alert === "HighErrorRate" || one.alert === "ErrorBudgetBurn",
    );
    assert.equal(alert?.release, 2);
    assert.ok((alert?.afterDeployMs ?? -1) >= 0);
    assert.match(alert?.route ?? "", /^GET \/: \d+ of \d+ failed$/);
    await assertOpens(alert);
    const {
      "webhook-id": id,
      "webhook-timestamp": at,
      "webhook-signature": signature,
    } = first?.headers ?? {};
    const key = Buffer.from(signingKey.replace("whsec_", ""), "base64");
    const expected = createHmac("sha256", key)
      .update(`${id}.${at}.${first?.body}`)
      .digest("base64");
    assert.equal(signature, `v1,${expected}`);
    await until("it fires in the list too", async () =>
      (await alertsNow()).alerts.some((one) => isFiringHighErrorRate(one) && one.release === 2),
    );
    await holdfast.ok("silence", "add", "alertname=HighErrorRate", "--comment", "known");
    await until("it is silenced in the list", async () => {
      const { alerts } = await alertsNow();
      const silenced = alerts.filter(({ silencedBy }) => silencedBy !== undefined);
      return (
        silenced.some(isFiringHighErrorRate) &&
        silenced.every(({ labels }) => labels["cause"] === "service")
      );
    });
    const counted = await quiet();
    await holdfast.ok("rollback", "faulty");
    const isOfIt = (one: string): boolean => /HighErrorRate|ErrorBudgetBurn/.test(one);
    await until("the mail came too", () => mails.mails.some(isOfIt));
    const sql =
      "SELECT count(*) AS n, count(*) FILTER (status >= 500) AS bad FROM requests WHERE host = 'faulty.localhost' AND path = '/'";
    const { rows } = await holdfast.json<ResultTable>("query", sql);
    assert.deepEqual(rows[0]?.map(Number), [counted.requests, counted.errors]);
  });

  it("shows what runs now, by service and release", async () => {
    await until("it was counted", async () => {
      const { rows } = await holdfast.json<{ rows: TopRow[] }>("top");
      const serving = rows.find(({ app, release }) => app === "faulty" && release === 1);
      return serving?.service === "web" && serving.ready === 1 && serving.wanted === 1;
    });
    assert.match(await holdfast.ok("top", "--once"), /faulty\/web +r1 +1\/1/);
  });

  it("shows what spent the budget, and which release", async () => {
    // To the last request, not an estimate: between what was there before and after.
    const counted = async (): Promise<readonly number[]> =>
      (
        await holdfast.json<{ rows: number[][] }>(
          "query",
          "SELECT count(*)::INTEGER, (count(*) FILTER (failed = 1))::INTEGER FROM requests WHERE app = 'faulty' AND route <> 'internal'",
        )
      ).rows[0] ?? [];
    const earlier = await counted();
    const { objectives } = await holdfast.json<{ objectives: ObjectiveView[] }>("slo", "faulty");
    const later = await counted();
    const availability = objectives.find(({ kind }) => kind === "availability");
    const figures = [availability?.requests ?? 0, availability?.bad ?? 0];
    for (const [index, figure] of figures.entries())
      assert.ok(
        (earlier[index] ?? 0) <= figure && figure <= (later[index] ?? 0),
        `${earlier}, ${figures}, ${later}`,
      );
    assert.ok((availability?.budgetLeft ?? 1) < 0);
    assert.ok((availability?.burnRate ?? 0) > 10);
    assert.equal(availability?.consumedBy[0]?.release, 2);
  });

  it("says of a silence whose it is and why, and ends it", async () => {
    const { silences } = await holdfast.json<{
      silences: { id: string; createdBy: string; comment: string; status: { state: string } }[];
    }>("silence", "list");
    assert.equal(silences[0]?.createdBy, "owner");
    assert.equal(silences[0]?.comment, "known");
    const unknown = await holdfast.run(["silence", "add", "alertname=HighErorRate"]);
    assert.equal(unknown.code, 2);
    assert.match(unknown.stderr, /there is no alert HighErorRate/);
    await holdfast.ok("silence", "remove", silences[0]?.id ?? "");
    const left = await holdfast.ok("silence", "list");
    assert.match(left, /expired/);
  });

  it("reads an app's own metrics where its spec says so, and answers bad PromQL with its position", async () => {
    await until("they were read", async () =>
      /app=faulty .*release=1 .*42/.test(await holdfast.ok("metrics", "jobs_waiting")),
    );
    const { code, stderr } = await holdfast.run(["metrics", "sum(("]);
    assert.equal(code, 2);
    assert.match(stderr, /1:6: parse error/);
    assert.match(await holdfast.ok("metrics", "up", "--since", "1m"), /[▁▂▃▄▅▆▇█]/);
  });

  it("counts edge, stores and machine by their own exporters", async () => {
    const one = async (promql: string): Promise<number> =>
      Number((await holdfast.ok("metrics", promql)).trim().split(/\s+/).at(-1));
    const inProduction = '{environment="production"}';
    await until("both stores were counted", async () => {
      const counted = await one(`pg_up${inProduction} + on(environment) redis_up${inProduction}`);
      return counted === 2;
    });
    assert.equal(await one(`sum(pg_settings_max_connections${inProduction})`), 200);
    const edge = 'haproxy_backend_http_responses_total{app="faulty",service="web",code="2xx"}';
    assert.ok((await one(`sum(${edge})`)) > 100, "answers by the edge's own count");
    assert.ok((await one('sum(node_filesystem_avail_bytes{holds="holdfast"})')) > 0);
  });

  it("forecasts what there is a limit of, as far as it knows", async () => {
    const { forecasts } = await holdfast.json<{ forecasts: Forecast[] }>("forecast");
    const used = new Map(forecasts.map((one) => [`${one.what} of ${one.of}`, one]));
    for (const name of [
      "disk of machine",
      "memory of machine",
      "connections of edge",
      "connections of database production",
      "connections of cache production",
    ])
      assert.ok((used.get(name)?.used ?? 0) > 0, `${name} of ${[...used.keys()].join()}`);
    assert.equal(used.get("connections of database production")?.limit, 200);
    const capacity = used.get("requests of faulty/web");
    assert.ok((capacity?.limit ?? 0) > 100, JSON.stringify(capacity));
    const report = await holdfast.run(["anomalies"]);
    assert.equal(report.code, 0);
    assert.equal((await holdfast.run(["anomalies", "nowhere"])).code, 2);
  });

  it("marks deploys on what it shows", async () => {
    const drawn = await holdfast.ok("metrics", "up", "--since", "10m");
    assert.match(drawn, /deploys +▲/);
    assert.match(drawn, /▲ \S+ faulty release 2 \(config\) serves/);
    const { deploys } = await holdfast.json<{ deploys: { release: number; reason: string }[] }>(
      "metrics",
      "up",
      "--since",
      "10m",
    );
    assert.deepEqual(
      deploys.map(({ release, reason }) => [release, reason]),
      [
        [1, "deploy"],
        [2, "config"],
        [1, "rollback"],
      ],
    );
    const listed = await holdfast.ok("traces", "faulty", "--since", "10m", "-n", "1000");
    assert.match(listed, /▲ faulty release 1 \(rollback\) serves/);
  });

  it("answers Prometheus' own API to whoever has a token, also asked by form", async () => {
    const token = readFileSync(join(holdfast.home, "state", "admin.token"), "utf8").trim();
    const ask = (init: RequestInit) =>
      fetch(`http://127.0.0.1:${holdfast.ports.api}/v1/prometheus/api/v1/query`, {
        method: "POST",
        body: new URLSearchParams({ query: "vector(3)" }),
        ...init,
      });
    const answer = await ask({ headers: { authorization: `Bearer ${token}` } });
    const { data } = (await answer.json()) as { data: { result: { value: unknown[] }[] } };
    assert.equal(data.result[0]?.value[1], "3");
    assert.equal((await ask({})).status, 401);
    const headers = { authorization: `Bearer ${token}` };
    const bad = await ask({ headers, body: new URLSearchParams({ query: "sum(" }) });
    const { status, errorType, error } = (await bad.json()) as Record<string, string>;
    assert.deepEqual([bad.status, status, errorType], [400, "error", "bad_data"]);
    assert.match(error ?? "", /parse error|unclosed|unexpected/);
    const info = await fetch(
      `http://127.0.0.1:${holdfast.ports.api}/v1/prometheus/api/v1/status/buildinfo`,
      { headers },
    );
    const built = (await info.json()) as { status: string; data: { version: string } };
    assert.equal(built.status, "success");
    assert.match(built.data.version, /^\d+\./);
  });

  const isFiringHighErrorRate = ({ alert, state }: AlertView): boolean =>
    alert === "HighErrorRate" && state === "firing";
  const alertsNow = async (): Promise<{ alerts: AlertView[] }> =>
    JSON.parse((await holdfast.run(["alerts", "--json"])).stdout) as { alerts: AlertView[] };

  it("pages where a job fails, and where the kernel ends what takes too much memory", async () => {
    const greedy = new AppFolder(
      {
        "grow.js":
          "const all = []; setInterval(() => all.push(Buffer.alloc(8 * 1024 ** 2, 1)), 100);",
        "holdfast.yaml": `name: greedy
workers:
  grow: { command: node grow.js, resources: { memory: 96MB } }
jobs:
  often: { command: "exit 3", schedule: "* * * * *" }
`,
      },
      "greedy",
    );
    try {
      await holdfast.run(["deploy", greedy.dir]);
      const firing = async (name: string): Promise<string | undefined> =>
        (await alertsNow()).alerts.find((one) => one.alert === name && one.state === "firing")
          ?.summary;
      await until(
        "the job's is told",
        async () => (await firing("JobFailed")) !== undefined,
        150_000,
      );
      assert.match((await firing("JobFailed")) ?? "", /job often of production\/greedy failed/);
      if (process.getuid?.() !== 0) return;
      await until(
        "the kill is told",
        async () => (await firing("MemoryKill")) !== undefined,
        100_000,
      );
      assert.match(
        (await firing("MemoryKill")) ?? "",
        /took more than the 9\dMiB|took more than the/,
      );
      assert.match((await holdfast.run(["status"])).stdout, /out of memory \(limit 9\d MB\)/);
      assert.match(
        await holdfast.ok("logs", "greedy/grow"),
        /the kernel ended a process of this instance: out of memory \(limit 96 MB\)/,
      );
    } finally {
      greedy.remove();
    }
  });

  it("keeps what was over in the list, with its rule", async () => {
    await until(
      "it is over",
      async () => {
        const { alerts } = await alertsNow();
        const over = alerts.find(
          (one) => one.alert === "HighErrorRate" && one.state === "resolved" && one.release === 2,
        );
        if (!over) return false;
        assert.match(over.summary, /production\/faulty web fails … of its requests \(release 2\)/);
        assert.equal(over.runbook, "docs/runbooks/high-error-rate.md");
        return true;
      },
      240_000,
    );
  });
});
