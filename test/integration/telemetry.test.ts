// What production says, from its sources to the command line: senders are real OpenTelemetry SDKs,
// and telemetry is killed while they send.

import assert from "node:assert/strict";
import { Agent, request as httpsRequest } from "node:https";
import { after, before, describe, it } from "node:test";
import { gzipSync } from "node:zlib";
import { SpanStatusCode } from "@opentelemetry/api";
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-http";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";
import { NodeTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-node";
import type { LogLine, ResultTable, TraceSpan, TraceSummary } from "../../src/kernel/signal.ts";
import { encodeRequest } from "../../src/telemetry/otlp/messages.ts";
import { ask } from "../support/ask.ts";
import { Installation, STOREFRONT } from "../support/installation.ts";
import { until } from "../support/wait.ts";

const HOST = "storefront.localhost";

describe("telemetry", { timeout: 300_000 }, () => {
  const holdfast = new Installation();
  let token = "";
  let httpPort = 0;
  let grpcPort = 0;
  const query = async (sql: string): Promise<Record<string, unknown>[]> => {
    const { columns, rows } = await holdfast.json<ResultTable>("query", sql, "-n", "100000");
    return rows.map((row) => Object.fromEntries(columns.map((name, i) => [name, row[i]])));
  };
  const post = async (
    path: string,
    body: Buffer | string,
    headers: Record<string, string> = {},
  ): Promise<{ status: number; text: string }> => {
    const answer = await fetch(`http://127.0.0.1:${httpPort}${path}`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json", ...headers },
      body,
      signal: AbortSignal.timeout(10_000),
    });
    return { status: answer.status, text: await answer.text() };
  };
  const logRequest = (...texts: readonly string[]): string =>
    JSON.stringify({
      resourceLogs: [
        {
          resource: {
            attributes: [{ key: "service.name", value: { stringValue: "someone-else" } }],
          },
          scopeLogs: [
            {
              logRecords: texts.map((stringValue) => ({
                severityNumber: 17,
                body: { stringValue },
                attributes: [{ key: "cart", value: { intValue: "3" } }],
              })),
            },
          ],
        },
      ],
    });

  before(async () => {
    await holdfast.ok("up", "--install");
    await holdfast.ok("deploy", STOREFRONT);
    const variables = await holdfast.ok("run", "storefront", "--", "env");
    token = /^OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20(\S+)$/m.exec(variables)?.[1] ?? "";
    assert.match(token, /^production\.storefront\.run\.r1\./);
    ({ otlpHttp: httpPort, otlpGrpc: grpcPort } = holdfast.ports);
    assert.match(variables, new RegExp(`OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:${httpPort}`));
  });
  after(() => holdfast.close());

  it("shows one trace across edge, web, api and database, and the lines that name it", async () => {
    await ask(holdfast, { host: HOST });
    const [found] = (await holdfast.json<{ traces: TraceSummary[] }>("traces", "storefront/web"))
      .traces;
    assert.ok(found);
    let spans: readonly TraceSpan[] = [];
    await until("the shop has sent its spans", async () => {
      spans = (await holdfast.json<{ spans: TraceSpan[] }>("trace", found.traceId)).spans;
      return spans.some(({ name }) => name === "SELECT");
    });
    const parents = new Map(spans.map((span) => [span.spanId, span]));
    const select = spans.find(({ name }) => name === "SELECT");
    const path: string[] = [];
    for (let at = select; at; at = parents.get(at.parentSpanId))
      path.push(at.scope === "edge" ? "edge" : at.service);
    assert.deepEqual(path.reverse(), ["edge", "web", "web", "edge", "api", "api"]);
    assert.equal(spans[0]?.scope, "edge");
    const text = await holdfast.ok("trace", found.traceId);
    assert.match(text, /edge +█+ .*GET \/ → 200/);
  });

  it("stamps a request when it came, however long its connection was idle before", async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const { httpsPort } = (await holdfast.status<{ installation: { httpsPort: number } }>())
      .installation;
    const get = (path: string): Promise<void> =>
      new Promise((resolve, reject) => {
        const options = { host: "127.0.0.1", port: httpsPort, servername: HOST, agent, path };
        httpsRequest({ ...options, headers: { host: HOST }, rejectUnauthorized: false }, (answer) =>
          answer.resume().on("end", resolve),
        )
          .on("error", reject)
          .end();
      });
    await get("/version?first");
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    const sent = Date.now();
    await get("/version?second");
    agent.destroy();
    const sql = "SELECT epoch_ms(time) AS ms FROM requests WHERE query = '?second'";
    await until("the record is there", async () => (await query(sql)).length === 1);
    const [{ ms } = {}] = await query(sql);
    assert.ok(Math.abs(Number(ms) - sent) < 1_000, `${Number(ms) - sent} ms off`);
  });

  it("takes spans over gRPC and logs over HTTP, as the instance whose token they have", async () => {
    const metadata = { authorization: `Bearer ${token}` };
    const traces = new OTLPTraceExporter({ url: `http://127.0.0.1:${grpcPort}` });
    // The exporter reads its headers from the variables that an instance gets.
    process.env["OTEL_EXPORTER_OTLP_HEADERS"] = `authorization=Bearer%20${token}`;
    const provider = new NodeTracerProvider({
      spanProcessors: [
        new SimpleSpanProcessor(new OTLPTraceExporter({ url: `http://127.0.0.1:${grpcPort}` })),
      ],
    });
    provider
      .getTracer("test")
      .startSpan("by grpc", { attributes: { cart: 3 } })
      .end();
    await provider.shutdown();
    await traces.shutdown();
    const logs = new LoggerProvider({
      processors: [
        new BatchLogRecordProcessor({
          exporter: new OTLPLogExporter({
            url: `http://127.0.0.1:${httpPort}/v1/logs`,
            headers: metadata,
          }),
        }),
      ],
    });
    logs.getLogger("test").emit({ body: "by http", severityNumber: 13, attributes: { cart: 3 } });
    await logs.shutdown();
    delete process.env["OTEL_EXPORTER_OTLP_HEADERS"];
    const [span] = await query("SELECT * FROM spans WHERE name = 'by grpc'");
    assert.equal(span?.["service"], "run");
    assert.equal(span?.["release"], 1);
    assert.equal(JSON.parse(String(span?.["attributes"]))["cart"], 3);
    const [line] = await query("SELECT * FROM logs WHERE contains(text, 'by http')");
    assert.equal(line?.["app"], "storefront");
    assert.equal(line?.["level"], "warn");
  });

  it("shows why a span failed: its status, what was thrown, what the store was asked", async () => {
    process.env["OTEL_EXPORTER_OTLP_HEADERS"] = `authorization=Bearer%20${token}`;
    const provider = new NodeTracerProvider({
      spanProcessors: [
        new SimpleSpanProcessor(new OTLPTraceExporter({ url: `http://127.0.0.1:${grpcPort}` })),
      ],
    });
    delete process.env["OTEL_EXPORTER_OTLP_HEADERS"];
    const attributes = { "db.query.text": "SELECT *\n  FROM cart WHERE id = $1" };
    const span = provider.getTracer("test").startSpan("fails", { attributes });
    span.recordException(new TypeError("cart is not iterable"));
    span.setStatus({ code: SpanStatusCode.ERROR, message: "the cart can't be read" });
    const { traceId } = span.spanContext();
    span.end();
    await provider.shutdown();
    const text = await holdfast.ok("trace", traceId);
    for (const said of [
      "the cart can't be read",
      "TypeError: cart is not iterable",
      "SELECT * FROM cart WHERE id = $1",
      "at ",
    ])
      assert.ok(text.includes(said), `${said} in ${text}`);
  });

  it("shows what stands around a line that matches", async () => {
    const texts = [
      "one",
      "two",
      "TypeError: boom",
      "    at a (a.js:1)",
      "    at b (b.js:2)",
      "last",
    ];
    await post("/v1/logs", logRequest(...texts.map((text) => `ctx ${text}`)));
    const around = async (lines: number): Promise<(string | undefined)[]> =>
      (await logLines("storefront", "--text", "ctx typeerror", "--context", String(lines))).map(
        ({ text, isContext }) => `${isContext ? "" : "*"}${/ctx\s+([\w:]+)/.exec(text)?.[1]}`,
      );
    assert.deepEqual(await around(1), ["two", "*TypeError:", "at"]);
    assert.deepEqual(await around(0), ["*TypeError:"]);
    assert.deepEqual((await around(2)).slice(-4), ["two", "*TypeError:", "at", "at"]);
    const followed = await holdfast.run(["logs", "storefront", "-f", "--context", "1"]);
    assert.match(followed.stderr, /excludes --follow/);
  });

  it("lets nobody write as another, whatever a message says of itself", async () => {
    assert.equal((await post("/v1/logs", logRequest("mine"))).status, 200);
    const [instance = "", signature = ""] = token.split("~");
    for (const wrong of [
      "",
      "Bearer nonsense",
      `Bearer production.other.web.r1.1~${signature}`,
      `Bearer ${instance}~${"A".repeat(signature.length)}`,
    ])
      assert.equal(
        (await post("/v1/logs", logRequest("forged"), { authorization: wrong })).status,
        401,
      );
    const lines = await query(
      "SELECT * FROM logs WHERE contains(text, 'mine') AND level = 'error'",
    );
    assert.deepEqual(
      lines.map(({ app, service }) => [app, service]),
      [["storefront", "run"]],
    );
    assert.match(String(lines[0]?.["text"]), /"service.name":"someone-else"/);
    assert.deepEqual(await query("SELECT * FROM logs WHERE contains(text, 'forged')"), []);
  });

  it("refuses what is no OTLP with what and why, and takes what follows", async () => {
    const protobuf = { "content-type": "application/x-protobuf" };
    const gzip = { "content-encoding": "gzip" };
    const refusals = [
      [await post("/v1/logs", "{"), 400, /JSON/],
      [await post("/v1/traces", Buffer.from("not protobuf"), protobuf), 400, /no OTLP traces/],
      [await post("/v1/logs", "not gzip", gzip), 400, /not gzip/],
      [await post("/v1/logs", gzipSync(Buffer.alloc(64 * 1024 ** 2)), gzip), 413, /16777216 bytes/],
      [await post("/v1/logs", "x", { "content-type": "text/plain" }), 415, /text\/plain/],
      [await post("/v1/nothing", "{}"), 404, /not OTLP/],
    ] as const;
    for (const [{ status, text }, expected, says] of refusals) {
      assert.equal(status, expected, text);
      assert.match(text, says);
    }
    assert.equal((await post("/v1/logs", gzipSync(logRequest("after")), gzip)).status, 200);
  });

  it("keeps long lines, and says where one was cut", async () => {
    for (const [length, what] of [
      [200_000, "whole"],
      [300_000, "too long"],
    ] as const)
      assert.equal(
        (await post("/v1/logs", logRequest(`${what} ${"x".repeat(length)}`))).status,
        200,
      );
    const found = await query(
      "SELECT length(text) > 200000 AS whole, text LIKE '%characters in all%' AS cut FROM logs WHERE text LIKE '%whole xx%' OR text LIKE '%too long xx%' ORDER BY cut",
    );
    assert.deepEqual(found, [
      { whole: true, cut: false },
      { whole: false, cut: true },
    ]);
  });

  it("says which spans it refused, and that it moved one whose clock is far off", async () => {
    const span = (traceId: string, spanId: string, more: object = {}) => ({
      ...{ traceId, spanId, name: "checked", kind: 1 },
      ...{ startTimeUnixNano: `${Date.now()}000000`, endTimeUnixNano: `${Date.now()}000000` },
      ...more,
    });
    const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    const far = {
      startTimeUnixNano: "4102444800000000000",
      endTimeUnixNano: "4102444800000000000",
    };
    const spans = [
      span("0".repeat(32), "00f067aa0ba902b7"),
      span(trace, "0".repeat(16)),
      span(trace, "00f067aa0ba902b8", far),
    ];
    const request = { resourceSpans: [{ scopeSpans: [{ spans }] }] };
    const answer = await post("/v1/traces", JSON.stringify(request));
    assert.equal(answer.status, 200);
    const { partialSuccess } = JSON.parse(answer.text) as {
      partialSuccess: { rejectedSpans: string; errorMessage: string };
    };
    assert.equal(partialSuccess.rejectedSpans, "2");
    assert.match(partialSuccess.errorMessage, /2 of 3 spans refused: .* all zeros/);
    const base64 = (hex: string): string => Buffer.from(hex, "hex").toString("base64");
    const coded = spans.map((one) => ({
      ...one,
      traceId: base64(one.traceId),
      spanId: base64(one.spanId),
    }));
    const bytes = await post(
      "/v1/traces",
      Buffer.from(encodeRequest("traces", { resourceSpans: [{ scopeSpans: [{ spans: coded }] }] })),
      { "content-type": "application/x-protobuf" },
    );
    assert.match(bytes.text, /2 of 3 spans refused/);
    const kept = await query(
      `SELECT DISTINCT attributes LIKE '%said 2100-01-01%' AS marked FROM spans WHERE trace_id = '${trace}' AND name = 'checked'`,
    );
    assert.deepEqual(kept, [{ marked: true }]);
  });

  it("does not believe a clock that is far off", async () => {
    const body = JSON.parse(logRequest("from the future"));
    body.resourceLogs[0].scopeLogs[0].logRecords[0].timeUnixNano = "4102444800000000000";
    assert.equal((await post("/v1/logs", JSON.stringify(body))).status, 200);
    const found = await query(
      "SELECT time < now() + INTERVAL 1 MINUTE AS ok FROM logs WHERE contains(text, 'the future')",
    );
    assert.deepEqual(found, [{ ok: true }]);
  });

  it("stays small where an app counts by a million distinct values, and names what it counts", async () => {
    const POINTS = 2_000;
    for (let message = 0; message < 500; message += 1) {
      const dataPoints = Array.from({ length: POINTS }, (_, i) => ({
        asDouble: 1,
        attributes: [{ key: "user", value: { stringValue: `u${message * POINTS + i}` } }],
      }));
      const bytes = encodeRequest("metrics", {
        resourceMetrics: [
          { scopeMetrics: [{ metrics: [{ name: "by.user", gauge: { dataPoints } }] }] },
        ],
      });
      const type = { "content-type": "application/x-protobuf" };
      assert.equal((await post("/v1/metrics", Buffer.from(bytes), type)).status, 200);
    }
    const ask = async (promql: string): Promise<string> =>
      (await holdfast.ok("metrics", promql)).trim();
    await until("Prometheus has read it", async () => /\d/.test(await ask("count(by_user)")));
    const count = Number((await ask("count(by_user)")).split(/\s+/).at(-1));
    assert.ok(count <= 10_000 && count > 1_000, String(count));
    const dropped = 'holdfast_telemetry_dropped_total{what="series",metric="by_user"}';
    await until("the rest is counted", async () => {
      const counted = Number((await ask(dropped)).split(/\s+/).at(-1));
      return counted >= 990_000;
    });
    await until("an alert says so", async () => {
      const { stdout } = await holdfast.run(["alerts"]);
      return /TelemetryLoss/.test(stdout);
    });
  });

  it("loses nothing that was acknowledged and keeps nothing twice when it is killed", async () => {
    const acknowledged = new Set<string>();
    let sent = 0;
    let isSending = true;
    const send = async (worker: number): Promise<void> => {
      while (isSending) {
        const ids = Array.from({ length: 5 }, () => `kill-${worker}-${sent++}-end`);
        const answer = await post("/v1/logs", logRequest(...ids)).catch(() => undefined);
        if (answer?.status === 200) for (const id of ids) acknowledged.add(id);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    const sending = [1, 2, 3].map(send);
    try {
      for (let kill = 0; kill < 5; kill += 1) {
        // Killed sooner it would be started again later and later, as one that fails at its start.
        await new Promise((resolve) => setTimeout(resolve, 2_300));
        const pid = await telemetryPid();
        process.kill(pid, "SIGKILL");
        await until("it is back", async () => ![pid, Number.NaN].includes(await telemetryPid()));
      }
    } finally {
      isSending = false;
      await Promise.all(sending);
    }
    const rows = await query(
      "SELECT regexp_extract(text, 'kill-\\d+-\\d+-end') AS id, count(*) AS n FROM logs WHERE contains(text, 'kill-') AND level = 'error' GROUP BY id",
    );
    const kept = new Map(rows.map(({ id, n }) => [String(id), Number(n)]));
    assert.ok(acknowledged.size > 50, String(acknowledged.size));
    const wrong = [...acknowledged].filter((id) => kept.get(id) !== 1);
    assert.equal(wrong.length, 0, `${wrong.slice(0, 5)} of ${acknowledged.size}`);
    const twice = [...kept].filter(([, n]) => n > 1);
    assert.equal(twice.length, 0, String(twice.slice(0, 5)));
  });

  it("answers questions in SQL with what is wrong about them, and only looks", async () => {
    const refused = async (sql: string): Promise<string> => {
      const { code, stderr } = await holdfast.run(["query", sql]);
      assert.equal(code, 2, sql);
      return stderr;
    };
    assert.match(await refused("SELECT nope FROM logs"), /"nope" not found[\s\S]*LINE 1/);
    assert.match(await refused("SELEC 1"), /syntax error at or near "SELEC"/);
    assert.match(await refused("DROP TABLE live_logs"), /only looks/);
    assert.match(await refused("SELECT * FROM read_text('/etc/passwd')"), /not allowed/);
    assert.match(await refused("SELECT 1; SELECT 2"), /one statement/);
    assert.match(
      await refused("SELECT list(a.range) FROM range(100000000) a, range(3) b"),
      /more memory than it may/,
    );
    assert.deepEqual(await query("SELECT 1 AS one"), [{ one: 1 }]);
  });

  it("finds lines by text, level, field, instance and release", async () => {
    const lines = await logLines("storefront", "--text", "LISTENING", "--release", "1");
    assert.equal(lines.length, 4);
    assert.deepEqual(await logLines("storefront", "--release", "99"), []);
    const instance = "production.storefront.web.r1.2";
    const ofInstance = await logLines("storefront", "--instance", "web.2");
    assert.deepEqual(new Set(ofInstance.map((line) => line.instance)), new Set([instance]));
    assert.deepEqual(await logLines("storefront", "--instance", instance), ofInstance);
    assert.ok((await logLines("storefront", "--field", "message=worker started")).length > 0);
    assert.deepEqual(await logLines("storefront/web", "--level", "error"), []);
    assert.ok((await logLines("--engine", "edge")).length > 0);
    assert.deepEqual(await logLines("storefront", "--until", "1d"), [], "nothing is that old");
    const [first] = lines;
    const after = new Date((first?.time ?? 0) - 60_000).toISOString();
    assert.ok((await logLines("storefront", "--since", after, "--until", "1s")).length > 0);
    const followed = await holdfast.run(["logs", "storefront", "-f", "--until", "1m"]);
    assert.match(followed.stderr, /what is followed has no end/);
    assert.ok(
      (await logLines("--engine", "postgres")).every(({ service }) => service === "postgres"),
    );
  });

  it("leads from a line to its trace, and from a trace to its lines", async () => {
    const order = { items: [{ sku: "mug-enamel", quantity: 1 }] };
    const { status, text } = await ask(holdfast, {
      host: HOST,
      path: "/api/orders",
      method: "POST",
      body: JSON.stringify(order),
    });
    assert.equal(status, 201);
    const { id } = JSON.parse(text) as { id: string };
    let line: LogLine | undefined;
    await until("the line is there", async () => {
      [line] = await logLines("storefront/api", "--field", `order=${id}`);
      return line !== undefined;
    });
    assert.ok(line);
    const { traceId } = line;
    await until("its trace is there", async () => {
      const found = await holdfast.run(["trace", traceId]);
      return found.stdout.includes("POST /api/orders → 201");
    });
    assert.match(await holdfast.ok("trace", traceId), /order placed/);
    assert.deepEqual(await logLines("--trace", traceId), [line]);
  });

  const logLines = async (...args: readonly string[]): Promise<LogLine[]> => {
    const { stdout } = await holdfast.run(["logs", ...args, "--json"]);
    return stdout
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as LogLine);
  };
  const telemetryPid = async (): Promise<number> => {
    const lines = await logLines("--engine", "telemetry", "--text", "telemetry is ready");
    return Number((JSON.parse(lines.at(-1)?.text ?? "{}") as { pid?: number }).pid);
  };

  it("can be told to keep less about people, from the first minute", async () => {
    const said = await holdfast.ok("telemetry", "set", "addresses=drop", "query-strings=drop");
    assert.match(said, /drop/);
  });
});
