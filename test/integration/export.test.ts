// Telemetry sent onward: to a receiver that refuses, goes away and comes back, by OTLP as anybody
// would receive it.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { gunzipSync } from "node:zlib";
import type { ExportView } from "../../src/api/export-routes.ts";
import {
  decodeRequest,
  hexId,
  type LogsRequest,
  type MetricsRequest,
  type OtlpSignal,
  plainObject,
  type TraceRequest,
} from "../../src/telemetry/otlp/messages.ts";
import { AppFolder } from "../support/app-folder.ts";
import { ask } from "../support/ask.ts";
import { Installation } from "../support/installation.ts";
import { until } from "../support/wait.ts";

const HOST = "exported.localhost";
const SERVER = `
const http = require("node:http");
http.createServer((request, response) => {
  console.log(JSON.stringify({ level: "warn", message: "asked for " + request.url, trace_id: request.headers.traceparent.split("-")[1] }));
  response.writeHead(request.url === "/bad" ? 500 : 200);
  response.end("ok");
}).listen(process.env.PORT, process.env.HOST);
process.on("SIGTERM", () => process.exit(0));
`;
const MANIFEST = `
name: exported
services:
  web: { command: node server.js, routes: [{ host: ${HOST} }] }
`;
const SECRET = "only-the-vendor-knows";

interface Received {
  readonly signal: OtlpSignal;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

describe("export", { timeout: 300_000 }, () => {
  const holdfast = new Installation();
  const app = new AppFolder({ "server.js": SERVER, "holdfast.yaml": MANIFEST });
  const received: Received[] = [];
  let status = 200;
  let port = 0;
  let vendor: Server | undefined;
  const listen = async (): Promise<void> => {
    vendor = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        const signal = (request.url ?? "").split("/").at(-1) as OtlpSignal;
        const body = gunzipSync(Buffer.concat(chunks));
        if (status === 200) received.push({ signal, headers: request.headers, body });
        response.writeHead(status).end(status === 200 ? "" : "no room");
      });
    });
    await new Promise<void>((resolve) => vendor?.listen(port, "127.0.0.1", resolve));
    port = (vendor.address() as AddressInfo).port;
  };
  const away = (): Promise<void> =>
    new Promise((resolve) => {
      vendor?.close(() => resolve());
      vendor?.closeAllConnections();
    });
  const messages = <Request>(signal: OtlpSignal): Request[] =>
    received
      .filter((one) => one.signal === signal)
      .map((one) => decodeRequest(signal, "protobuf", one.body) as Request);
  const texts = (): string[] =>
    messages<LogsRequest>("logs").flatMap(({ resourceLogs = [] }) =>
      resourceLogs.flatMap(({ scopeLogs = [] }) =>
        scopeLogs.flatMap(({ logRecords = [] }) =>
          logRecords.map(({ body }) => body?.stringValue ?? ""),
        ),
      ),
    );
  const state = async () =>
    (await holdfast.json<{ exports: ExportView[] }>("export", "list")).exports[0]?.state;
  const telemetryPid = async (): Promise<number> => {
    const said = ["logs", "--engine", "telemetry", "--text", "telemetry is ready", "--json"];
    const last = (await holdfast.ok(...said)).trim().split("\n").at(-1) ?? "{}";
    return Number(JSON.parse((JSON.parse(last) as { text: string }).text).pid);
  };
  const visit = (path: string) => ask(holdfast, { host: HOST, path });
  const arrived = (path: string): boolean => texts().some((text) => text.includes(`for ${path}"`));

  before(async () => {
    await listen();
    await holdfast.ok("up");
    await holdfast.ok("deploy", app.dir);
    await visit("/before");
    // What is on its way when an export is added may be taken for later.
    await until("what came before is kept", async () =>
      (await holdfast.run(["logs", "exported", "--text", "/before"])).stdout.includes("/before"),
    );
    const args = ["export", "add", "vendor", "--endpoint", `http://127.0.0.1:${port}`];
    const added = await holdfast.run(args, `api-key=${SECRET},x-tenant=a%20b\n`);
    assert.equal(added.code, 0, added.stderr);
    await until("telemetry knows it", async () => (await state()) !== undefined);
  });
  after(async () => {
    await holdfast.close();
    await away();
    app.remove();
  });

  it("tells who answers, and keeps the headers to itself", async () => {
    assert.match(await holdfast.ok("export", "test", "vendor"), /took logs, traces, metrics/);
    assert.equal(received[0]?.headers["api-key"], SECRET);
    assert.equal(received[0]?.headers["x-tenant"], "a b");
    assert.doesNotMatch(await holdfast.ok("export", "list"), new RegExp(SECRET));
    const files = readdirSync(join(holdfast.home, "telemetry", "export"), { recursive: true });
    for (const file of files as string[]) {
      if (!file.endsWith(".json")) continue;
      const text = readFileSync(join(holdfast.home, "telemetry", "export", file), "utf8");
      assert.doesNotMatch(text, new RegExp(SECRET), file);
    }
  });

  it("sends logs, the edge's spans and metrics, with whose they are", async () => {
    await visit("/good");
    const { headers } = await visit("/bad");
    await until("both are there", () => arrived("/good") && arrived("/bad"));
    const resources = messages<LogsRequest>("logs").flatMap(({ resourceLogs = [] }) =>
      resourceLogs.map((log) => plainObject(log.resource?.attributes)),
    );
    // The engines of the environment write lines too.
    const own = resources.find((one) => one["service.name"] === "web");
    const { "service.instance.id": instance, ...resource } = own ?? {};
    assert.deepEqual(resource, {
      "service.name": "web",
      "service.namespace": "exported",
      "service.version": "1",
      "deployment.environment.name": "production",
    });
    assert.equal(instance, "production.exported.web.r1.1");
    const spans = () =>
      messages<TraceRequest>("traces").flatMap(({ resourceSpans = [] }) =>
        resourceSpans.flatMap(({ scopeSpans = [] }) =>
          scopeSpans.flatMap((one) => one.spans ?? []),
        ),
      );
    const ofTrace = () =>
      spans().find((one) => hexId(one.traceId, "protobuf", 16) === headers["x-request-id"]);
    await until("the span of the edge is there", () => ofTrace() !== undefined);
    const span = ofTrace();
    assert.equal(span?.status?.code, 2);
    const attributes = plainObject(span?.attributes);
    assert.equal(attributes["url.path"], "/bad");
    assert.equal(attributes["http.response.status_code"], 500);
    assert.ok(!arrived("/before"), "it begins with what came after it was added");
    await until("metrics are there", () =>
      messages<MetricsRequest>("metrics").some((message) =>
        JSON.stringify(message).includes("holdfast_request_duration_seconds"),
      ),
    );
    const histogram = messages<MetricsRequest>("metrics")
      .flatMap(({ resourceMetrics = [] }) => resourceMetrics)
      .flatMap(({ scopeMetrics = [] }) => scopeMetrics)
      .flatMap(({ metrics = [] }) => metrics)
      .findLast(({ name }) => name === "holdfast_request_duration_seconds")?.histogram;
    const [point] = histogram?.dataPoints ?? [];
    const sum = (point?.bucketCounts ?? []).reduce<number>((all, one) => all + Number(one), 0);
    assert.equal(sum, Number(point?.count));
    assert.equal(point?.bucketCounts?.length, (point?.explicitBounds?.length ?? 0) + 1);
  });

  it("loses nothing while the place is away, or telemetry is killed meanwhile", async () => {
    await away();
    for (let i = 0; i < 20; i += 1) await visit(`/away-${i}`);
    await until("it is said", async () => {
      const { waiting = 0, problem = "" } = (await state()) ?? {};
      return waiting > 0 && /ECONNREFUSED/.test(problem);
    });
    const pid = await telemetryPid();
    process.kill(pid, "SIGKILL");
    for (let i = 20; i < 40; i += 1) await visit(`/away-${i}`);
    await listen();
    await until("all forty arrived", () =>
      Array.from({ length: 40 }, (_, i) => `/away-${i}`).every(arrived),
    );
    const twice = texts().filter((text, i, all) => all.indexOf(text) !== i);
    assert.ok(twice.length < 20, `${twice.length} arrived twice`);
    await until("nothing waits", async () => {
      const now = await state();
      return now?.waiting === 0 && now.problem === undefined;
    });
  });

  it("tries again what is refused for now, and counts what is refused for good", async () => {
    status = 503;
    await visit("/later");
    await until("it waits", async () => /503: no room/.test((await state())?.problem ?? ""));
    status = 200;
    await until("it arrived", () => arrived("/later"));
    status = 400;
    await visit("/never");
    await until("it is lost, and said", async () => {
      const { lost = 0, problem = "" } = (await state()) ?? {};
      return lost > 0 && /400: no room/.test(problem);
    });
    status = 200;
    await away();
    await visit("/dropped");
    await until("it waits", async () => ((await state())?.waiting ?? 0) > 0);
    await holdfast.ok("export", "remove", "vendor");
    assert.match(await holdfast.ok("export", "list"), /nothing is sent onward/);
    const add = ["export", "add", "vendor", "--endpoint", `http://127.0.0.1:${port}`];
    await new Promise((resolve) => setTimeout(resolve, 6_000));
    await holdfast.run(add, "\n");
    await listen();
    await until("telemetry knows it", async () => (await state()) !== undefined);
    await visit("/anew");
    await until("what is new arrives", () => arrived("/anew"));
    assert.ok(!arrived("/dropped"), "what waited for the removed one went with it");
  });

  it("stops and starts without sending anything twice", async () => {
    await until("nothing waits", async () => (await state())?.waiting === 0);
    for (let i = 0; i < 10; i += 1) await visit(`/once-${i}`);
    await until("all arrived", () => arrived("/once-9"));
    await holdfast.ok("down", "--all");
    await holdfast.ok("up");
    await until("it runs again", async () => (await visit("/after")).status === 200);
    await until("it goes on", () => arrived("/after"));
    const once = texts().filter((text) => text.includes("for /once-"));
    assert.equal(once.length, 10);
  });

  it("refuses what can't be an export, with what and why", async () => {
    const refused = async (endpoint: string, headers: string): Promise<string> => {
      const args = ["export", "add", "x", "--endpoint", endpoint];
      const { code, stderr } = await holdfast.run(args, `${headers}\n`);
      assert.equal(code, 2);
      return stderr;
    };
    assert.match(await refused("ftp://x", ""), /endpoint: must be a URL such as https/);
    for (const url of ["http://169.254.169.254/latest?", "http://metadata.google.internal/"])
      assert.match(await refused(url, ""), /no place for|keeps credentials/);
    assert.match(await refused("https://x/?a=", ""), /no place for \? and #/);
    assert.match(await refused("https://x", "content-length=1"), /set by the sender itself/);
    assert.match(await refused("https://x", "nonsense"), /not name=value/);
    assert.equal((await holdfast.run(["export", "test", "nobody"])).code, 2);
  });
});
