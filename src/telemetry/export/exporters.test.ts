// Exports of a real store to a real receiver; the whole way is in test/integration/export.test.ts.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { gunzipSync } from "node:zlib";
import { until } from "../../../test/support/wait.ts";
import type { ExportTarget } from "../../kernel/signal.ts";
import { logLine } from "../log-journal.ts";
import { MetricRegistry } from "../metrics/registry.ts";
import { decodeRequest, type LogsRequest } from "../otlp/messages.ts";
import { TelemetryStore } from "../store/telemetry-store.ts";
import { Exporters } from "./exporters.ts";
import { encodeMetrics, encodeSpans } from "./otlp-encode.ts";

describe("Exporters", () => {
  let dir = "";
  let status = 200;
  let received: string[] = [];
  let lost: [string, string, number][] = [];
  let store: TelemetryStore;
  let exporters: Exporters;
  let vendor: Server;
  let target: ExportTarget;
  const say = async (...texts: readonly string[]): Promise<void> => {
    const whose = { environment: "production", app: "shop", service: "web", level: "info" };
    const lines = texts.map((text) =>
      logLine({ ...whose, release: 1, instance: "web.1" }, Date.now() * 1_000, text),
    );
    await store.append("logs", lines.join(""));
    await store.load(["logs"]);
  };
  const state = () => exporters.states()["production/vendor"];

  before(async () => {
    vendor = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const body = gunzipSync(Buffer.concat(chunks));
      const { resourceLogs = [] } = decodeRequest("logs", "protobuf", body) as LogsRequest;
      const isKnown = request.headers["api-key"] === "k";
      if (status === 200 && isKnown)
        for (const { scopeLogs = [] } of resourceLogs)
          for (const { logRecords = [] } of scopeLogs)
            received.push(...logRecords.map((record) => record.body?.stringValue ?? ""));
      response.writeHead(isKnown ? status : 401).end();
    });
    await new Promise<void>((resolve) => vendor.listen(0, "127.0.0.1", resolve));
    const { port } = vendor.address() as AddressInfo;
    target = {
      name: "production/vendor",
      environment: "production",
      endpoint: `http://127.0.0.1:${port}`,
      signals: ["logs"],
      headers: { "api-key": "k" },
    };
  });
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), "holdfast-exporters-"));
    status = 200;
    received = [];
    lost = [];
    const now = Date.now;
    const onProblem = (_what: string, error: unknown): void => assert.fail(String(error));
    store = await TelemetryStore.open({
      dir,
      now,
      policies: () => ({}),
      isSource: () => true,
      onProblem,
      onDropped: () => undefined,
    });
    exporters = new Exporters({
      dir,
      store,
      registry: new MetricRegistry(now),
      now,
      onProblem,
      onLost: (...event) => lost.push(event),
    });
  });
  afterEach(async () => {
    await exporters.close();
    await store.close();
    rmSync(dir, { recursive: true, force: true });
  });
  after(() => vendor.close());

  it("keeps what waits while its headers can't be read, and sends it once they can", async () => {
    const { headers: _, ...sealed } = target;
    exporters.configure([target]);
    exporters.configure([sealed]);
    await say("one", "two");
    await until("both wait", () => state()?.waiting === 2);
    exporters.configure([sealed]);
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.equal(state()?.waiting, 2);
    assert.deepEqual(received, []);
    exporters.configure([target]);
    await until("both arrived", () => received.length === 2);
    assert.deepEqual(received, ["one", "two"]);
    assert.deepEqual(lost, []);
  });

  it("says what was lost because it was refused", async () => {
    exporters.configure([target]);
    status = 401;
    await say("one", "two", "three");
    await until("it is lost", () => state()?.lost === 3);
    assert.deepEqual(lost, [["production/vendor", "logs", 3]]);
    assert.match(state()?.problem ?? "", /401/);
  });

  it("goes on where it was after a start, and passes over what is of others", async () => {
    exporters.configure([target]);
    await say("one");
    await until("it arrived", () => received.length === 1);
    const others = logLine(
      { environment: "staging", app: "a", service: "b", release: 1, instance: "c", level: "" },
      Date.now() * 1_000,
      "not ours",
    );
    await store.append("logs", others);
    await store.load(["logs"]);
    await exporters.close();
    exporters = new Exporters({
      dir,
      store,
      registry: new MetricRegistry(Date.now),
      now: Date.now,
      onProblem: (_what, error) => assert.fail(String(error)),
      onLost: () => undefined,
    });
    exporters.configure([target]);
    await say("two");
    await until("it arrived", () => received.length === 2);
    assert.deepEqual(received, ["one", "two"]);
  });

  it("says of a span what happened in it, and that it went well", () => {
    const row = {
      timeUs: 5_000_000,
      duration_us: 900,
      trace_id: "0af7651916cd43dd8448eb211c80319c",
      span_id: "b7ad6b7169203331",
      parent_span_id: "",
      name: "charge",
      kind: "client",
      status: "ok",
      scope: "shop",
      attributes: "",
      events: JSON.stringify([{ name: "exception", atUs: 40, "exception.type": "Timeout" }]),
    };
    const [resource] = encodeSpans([row]).resourceSpans ?? [];
    const [span] = resource?.scopeSpans?.[0]?.spans ?? [];
    assert.equal(span?.status?.code, 1);
    assert.deepEqual(span?.events, [
      {
        name: "exception",
        timeUnixNano: "5000040000",
        attributes: [{ key: "exception.type", value: { stringValue: "Timeout" } }],
      },
    ]);
  });

  it("counts points of its environment only", () => {
    const registry = new MetricRegistry(Date.now);
    for (const environment of ["production", "staging"])
      registry.observe({
        name: "orders",
        type: "gauge",
        help: "",
        labels: { environment },
        value: 1,
        owner: environment,
      });
    assert.equal(encodeMetrics(registry.families(), "production", 0, 1).points, 1);
    assert.equal(encodeMetrics(registry.families(), "test", 0, 1).points, 0);
  });
});
