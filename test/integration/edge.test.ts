// What the edge does for every app: on a small app that says what it was asked.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { after, before, describe, it } from "node:test";
import { connect as connectTls } from "node:tls";
import type { ResultTable } from "../../src/kernel/signal.ts";
import { AppFolder, ECHO_SERVER } from "../support/app-folder.ts";
import { ask } from "../support/ask.ts";
import { Installation } from "../support/installation.ts";
import { until } from "../support/wait.ts";

const HOST = "echo.localhost";
const MANIFEST = `
name: echo
services:
  web:
    command: node server.js
    health: { path: /healthz, host: probe.localhost }
    compression: all
    routes: [{ host: echo.localhost }, { host: "*.echo.localhost", path: /deep/er }]
    limits: { body: 64KB }
  strict:
    command: node server.js
    routes: [{ host: echo.localhost, path: /strict }]
    limits: { requestsPerSecond: 2 }
  hasty:
    command: node server.js
    routes: [{ host: echo.localhost, path: /slow-hasty }]
    limits: { timeout: 500ms }
  narrow:
    command: node server.js
    routes: [{ host: echo.localhost, path: /slow-narrow }]
    limits: { connections: 3 }
`;

interface Echo {
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly bytes: number;
}

describe("the edge", { timeout: 300_000 }, () => {
  const holdfast = new Installation();
  const app = new AppFolder({ "server.js": ECHO_SERVER, "holdfast.yaml": MANIFEST });
  const echo = async (headers: Record<string, string> = {}, path = "/"): Promise<Echo> =>
    JSON.parse((await ask(holdfast, { host: HOST, path, headers })).text) as Echo;

  /** What comes back on the plain port, until the edge ends the connection. */
  const askPlain = async (bytes: string): Promise<string> => {
    const socket = connect({ host: "127.0.0.1", port: holdfast.ports.http });
    let text = "";
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    socket.write(bytes);
    await new Promise((resolve) => socket.on("close", resolve));
    return text;
  };

  before(async () => {
    await holdfast.ok("up", "--install");
    await holdfast.ok("deploy", app.dir);
  });
  after(async () => {
    await holdfast.close();
    app.remove();
  });

  it("says itself who asks, whatever the client claims", async () => {
    const { headers } = await echo({
      "x-forwarded-for": "6.6.6.6",
      forwarded: "for=6.6.6.6",
      "x-real-ip": "6.6.6.6",
      "x-forwarded-proto": "http",
      "x-forwarded-host": "evil",
    });
    assert.equal(headers["x-forwarded-for"], "127.0.0.1");
    assert.equal(headers["x-real-ip"], "127.0.0.1");
    assert.equal(headers["x-forwarded-proto"], "https");
    assert.equal(headers["x-forwarded-host"], HOST);
    assert.equal(headers["forwarded"], undefined);
  });

  it("begins a trace, continues a valid one, and replaces one that is none", async () => {
    const begun = await echo();
    assert.match(begun.headers["traceparent"] ?? "", /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
    const trace = "0af7651916cd43dd8448eb211c80319c";
    const continued = await echo({ traceparent: `00-${trace}-b7ad6b7169203331-01` });
    assert.match(
      continued.headers["traceparent"] ?? "",
      new RegExp(`^00-${trace}-(?!b7ad6b7169203331)[0-9a-f]{16}-01$`),
    );
    const unsampled = await echo({ traceparent: `00-${trace}-b7ad6b7169203331-00` });
    assert.match(
      unsampled.headers["traceparent"] ?? "",
      new RegExp(`^00-${trace}-[0-9a-f]{16}-00$`),
      "what is not sampled stays so",
    );
    for (const wrong of [
      `00-${"0".repeat(32)}-b7ad6b7169203331-01`,
      `00-${trace}-${"0".repeat(16)}-01`,
    ]) {
      const { headers } = await echo({ traceparent: wrong, tracestate: "a=b" });
      assert.doesNotMatch(headers["traceparent"] ?? "", new RegExp(`${trace}|0{32}`), wrong);
      assert.equal(headers["tracestate"], undefined, "it was of a trace that is none");
    }
    const replaced = await echo({ traceparent: "00-nonsense" });
    assert.match(replaced.headers["traceparent"] ?? "", /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  });

  it("continues a trace that B3 began, in one header or in several", async () => {
    const trace = "80f198ee56343ba864fe8b2a57d3eff7";
    const span = "e457b5a2e4d86bd1";
    const of = (headers: Readonly<Record<string, string>>, id: string, sampled: string): void =>
      assert.match(headers["traceparent"] ?? "", new RegExp(`^00-${id}-[0-9a-f]{16}-${sampled}$`));
    for (const [b3, id, sampled] of [
      [`${trace}-${span}-1`, trace, "01"],
      [`${trace}-${span}-0`, trace, "00"],
      [`${trace}-${span}`, trace, "01"],
      [`${trace.slice(16)}-${span}-1`, `${"0".repeat(16)}${trace.slice(16)}`, "01"],
    ] as const) {
      const { headers } = await echo({ b3 });
      of(headers, id, sampled);
      const own = headers["traceparent"]?.slice(36, 52);
      assert.equal(headers["b3"], `${id}-${own}-${sampled.slice(1)}`, b3);
    }
    const { headers } = await echo({
      ...{ "x-b3-traceid": trace, "x-b3-spanid": span },
      ...{ "x-b3-sampled": "0", "x-b3-parentspanid": span },
    });
    of(headers, trace, "00");
    assert.equal(headers["x-b3-traceid"], trace);
    assert.equal(headers["x-b3-spanid"], headers["traceparent"]?.slice(36, 52));
    assert.equal(headers["x-b3-parentspanid"], undefined);
    // Who only decides has begun no trace.
    for (const decided of [{ b3: "0" }, { "x-b3-sampled": "0" }])
      assert.match((await echo(decided)).headers["traceparent"] ?? "", /-00$/);
    const debug = await echo({ b3: `${trace}-${span}-d` });
    assert.match(debug.headers["b3"] ?? "", /-d$/);
    for (const wrong of [
      "nonsense",
      `${"0".repeat(32)}-${span}-1`,
      `${trace}-short-1`,
      `${trace}-${"0".repeat(16)}-1`,
    ]) {
      const answer = await echo({ b3: wrong });
      const begun = answer.headers["traceparent"] ?? "";
      assert.match(begun, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
      assert.doesNotMatch(begun, new RegExp(`${trace}|0{32}`), wrong);
      assert.equal(answer.headers["b3"]?.slice(0, 32), begun.slice(3, 35), "both name one trace");
    }
    const both = await echo({
      traceparent: `00-${trace}-b7ad6b7169203331-01`,
      b3: `${span}${span}-${span}-0`,
    });
    of(both.headers, trace, "01");
    assert.equal(both.headers["b3"], `${trace}-${both.headers["traceparent"]?.slice(36, 52)}-1`);
    const single = await echo({
      ...{ b3: `${trace}-${span}-0`, "x-b3-traceid": span + span, "x-b3-spanid": span },
    });
    of(single.headers, trace, "00");
    assert.equal(single.headers["x-b3-traceid"], trace);
    const later = await echo({ traceparent: `01-${trace}-b7ad6b7169203331-01-more` });
    of(later.headers, trace, "01");
  });

  it("gives every request an id, to the app and to the client", async () => {
    const answer = await ask(holdfast, { host: HOST });
    const id = answer.headers["x-request-id"];
    assert.match(String(id), /^[0-9a-f]{32}$/);
    assert.equal((JSON.parse(answer.text) as Echo).headers["x-request-id"], id);
  });

  it("sends plain HTTP to HTTPS, path and query included", async () => {
    const { status, headers } = await ask(holdfast, { host: HOST, path: "/a/b?c=d", plain: true });
    assert.equal(status, 308);
    assert.equal(headers.location, `https://${HOST}:${holdfast.ports.https}/a/b?c=d`);
  });

  it("routes by host and whole path segments, the longest first; one wildcard label", async () => {
    assert.equal((await ask(holdfast, { host: HOST, path: "/strictly" })).status, 200);
    assert.equal(
      (await ask(holdfast, { host: "nobody.localhost" }).catch(() => undefined))?.status ?? 404,
      404,
    );
    const ca = { host: "any.echo.localhost", path: "/deep/er/x" };
    assert.equal((await ask(holdfast, ca)).status, 200);
    assert.equal((await ask(holdfast, { ...ca, path: "/deep" })).status, 404);
  });

  it("speaks HTTP/2", async () => {
    const session = connectHttp2(`https://127.0.0.1:${holdfast.ports.https}`, {
      ca: readFileSync(holdfast.caFile),
      servername: HOST,
    });
    const stream = session.request({ ":path": "/", ":authority": HOST });
    const status = await new Promise((resolve, reject) => {
      stream.on("response", (headers) => resolve(headers[":status"])).on("error", reject);
    });
    stream.resume();
    session.close();
    assert.equal(status, 200);
  });

  it("passes WebSockets on", async () => {
    const socket = connectTls({
      host: "127.0.0.1",
      port: holdfast.ports.https,
      ca: readFileSync(holdfast.caFile),
      servername: HOST,
    });
    socket.write(
      `GET /ws HTTP/1.1\r\nhost: ${HOST}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
    );
    let text = "";
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes("101") && !text.includes("ping")) socket.write("ping");
    });
    await until(
      "the echo comes back",
      () => text.includes("101 Switching Protocols") && text.endsWith("ping"),
    );
    socket.destroy();
  });

  it("compresses text where the client can read it", async () => {
    assert.equal(
      (await ask(holdfast, { host: HOST, headers: { "accept-encoding": "gzip" } })).headers[
        "content-encoding"
      ],
      "gzip",
    );
    assert.equal((await ask(holdfast, { host: HOST })).headers["content-encoding"], undefined);
  });

  it("refuses bodies and headers that are too large", async () => {
    const large = await ask(holdfast, {
      host: HOST,
      method: "POST",
      body: Buffer.alloc(65 * 1024),
    });
    assert.equal(large.status, 413);
    assert.match(large.text, /Too large/);
    assert.equal(
      (await ask(holdfast, { host: HOST, method: "POST", body: Buffer.alloc(63 * 1024) })).status,
      200,
    );
    assert.equal(
      (await ask(holdfast, { host: HOST, headers: { "x-large": "x".repeat(20_000) } })).status,
      400,
    );
  });

  it("answers 429 to a client that asks too often, and 504 when the app is too slow", async () => {
    assert.equal((await ask(holdfast, { host: HOST, path: "/slow" })).status, 200);
    assert.equal((await ask(holdfast, { host: HOST, path: "/slow-hasty" })).status, 504);
    const statuses: number[] = [];
    for (let i = 0; i < 40; i += 1)
      statuses.push((await ask(holdfast, { host: HOST, path: "/strict" })).status);
    assert.ok(statuses.includes(429), statuses.join(" "));
    assert.equal(
      (await ask(holdfast, { host: HOST })).status,
      200,
      "another service has its own limit",
    );
  });

  it("answers 429 to a client that holds too many connections", async () => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => ask(holdfast, { host: HOST, path: "/slow-narrow" })),
    );
    const statuses = answers.map(({ status }) => status);
    assert.ok(statuses.includes(429), statuses.join(" "));
  });

  it("refuses a host that is none, and drops names that apps mistake for the edge's own", async () => {
    assert.match(await askPlain(`GET / HTTP/1.1\r\nhost: ${HOST}/strict\r\n\r\n`), / 400 /);
    const { headers } = await echo({ X_Forwarded_For: "6.6.6.6", Proxy: "http://evil.example" });
    assert.equal(headers["x_forwarded_for"], undefined);
    assert.equal(headers["proxy"], undefined);
  });

  it("ends a client that does not finish its request", { timeout: 30_000 }, async () => {
    assert.match(await askPlain("GET / HTTP/1.1\r\nhost: echo"), /^HTTP\/1\.1 408/);
  });

  it("shows its own page where no app answers", async () => {
    const { status, text } = await ask(holdfast, { host: "localhost" });
    assert.equal(status, 404);
    assert.match(text, /No app answers at this address/);
  });

  it("leaves one record per request, with its service, release and instance", async () => {
    const { headers } = await ask(holdfast, {
      host: HOST,
      path: "/recorded?q=1",
      headers: { "user-agent": "tab\tin it" },
    });
    const id = String(headers["x-request-id"]);
    const records = async (): Promise<Record<string, unknown>[]> => {
      const sql = `SELECT * FROM requests WHERE trace_id = '${id}'`;
      const { columns, rows } = await holdfast.json<ResultTable>("query", sql);
      return rows.map((row) => Object.fromEntries(columns.map((name, i) => [name, row[i]])));
    };
    await until("the record is there", async () => (await records()).length > 0);
    const [record, ...more] = await records();
    assert.deepEqual(more, []);
    const { environment, app, service, release, instance, route, path, query, status } =
      record ?? {};
    assert.deepEqual(
      { environment, app, service, release, instance, route, path, query, status },
      {
        environment: "production",
        app: "echo",
        service: "web",
        release: 1,
        instance: "production.echo.web.r1.1",
        route: "echo.localhost/",
        path: "/recorded",
        // Names only, as the default privacy has it.
        query: "?q=",
        status: 200,
      },
    );
    assert.equal(record?.["span_id"], id.slice(16));
  });

  it("retries a safe request on another instance, and never an unsafe one", async () => {
    await holdfast.ok("scale", "echo", "web=2");
    const { pidOf } = await import("../support/instance-process.ts");
    const ask20 = (method: string) =>
      Array.from({ length: 20 }, () => ask(holdfast, { host: HOST, path: "/slow", method }));
    const [reads, writes] = [ask20("GET"), ask20("POST")];
    await new Promise((resolve) => setTimeout(resolve, 700));
    process.kill(pidOf(holdfast, "production.echo.web.r1.1"), "SIGKILL");
    const statusesOf = async (answers: typeof reads): Promise<number[]> => [
      ...new Set((await Promise.all(answers)).map(({ status }) => status)),
    ];
    assert.deepEqual(await statusesOf(reads), [200]);
    // Those that were at the killed one are the client's to repeat; the others were answered.
    assert.deepEqual((await statusesOf(writes)).sort(), [200, 502]);
  });
});
