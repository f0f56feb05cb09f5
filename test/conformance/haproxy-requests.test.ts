// What the edge does with requests of clients that mean harm and of apps that misbehave: on a HAProxy
// of its own, by the bytes on the wire.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { request } from "node:http";
import {
  connect as connectHttp2,
  createServer as createHttp2Server,
  type ServerHttp2Stream,
} from "node:http2";
import { createServer as createNetServer, type Socket } from "node:net";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { gunzipSync } from "node:zlib";
import * as grpc from "@grpc/grpc-js";
import { haproxyVersion } from "../../src/drivers/haproxy/haproxy-version.ts";
import { findFreePort } from "../../src/drivers/process/free-port.ts";
import { sleep, systemClock } from "../../src/kernel/clock.ts";
import { REQUEST_COLUMNS, type RequestColumn } from "../../src/kernel/signal.ts";
import type { PoolPolicy } from "../../src/resources/app/app-driver.ts";
import { defaultHealth, defaultLimits } from "../../src/resources/app/manifest.ts";
import { OwnHaproxy } from "../support/own-haproxy.ts";
import { until } from "../support/wait.ts";

const APP = "production/shop";
const HOST = "shop.localhost";
const OTHER_APP = "staging/shop";
const OTHER_HOST = "staging.localhost";
const BODY_MAX = 64 * 1024;
const TIMEOUT_MS = 600;
const ROOM = 4;

const policy: PoolPolicy = {
  health: defaultHealth,
  limits: {
    ...defaultLimits,
    requestsPerSecond: 100_000,
    connections: 1_000,
    body: BODY_MAX,
    timeout: TIMEOUT_MS,
    perInstance: ROOM,
    tunnels: 8,
  },
};

describe("requests at HAProxy", { timeout: 240_000 }, () => {
  let haproxy: OwnHaproxy;
  let poisoned: string[] = [];
  let got = 0;
  const sockets = new Set<Socket>();

  const listener =
    (name: string): Parameters<OwnHaproxy["upstream"]>[1] =>
    (request, response) => {
      got += 1;
      const { url = "/", headers } = request;
      if (url.startsWith("/poison")) {
        poisoned.push(name);
        return void request.socket.destroy();
      }
      if (url.startsWith("/cut")) {
        response.writeHead(200, { "content-type": "text/plain" }).write("half of it");
        return void setTimeout(() => request.socket.destroy(), 100);
      }
      if (url.startsWith("/events")) {
        response.writeHead(200, { "content-type": "text/event-stream" }).write("data: 1\n\n");
        return void setTimeout(() => response.end("data: 2\n\n"), 3 * TIMEOUT_MS);
      }
      if (url.startsWith("/lines")) {
        const json = { "content-type": "application/json" };
        response.writeHead(200, json).write(`${JSON.stringify({ text: "a".repeat(200) })}\n`);
        return void setTimeout(() => response.end("{}\n"), TIMEOUT_MS / 2);
      }
      if (url.startsWith("/slow"))
        return void setTimeout(() => response.end("slow"), 10 * TIMEOUT_MS);
      request.resume().on("end", () => {
        const text = "whole ".repeat(400);
        response.setHeader("content-type", "text/plain").setHeader("x-by", name);
        response
          .setHeader("x-sent", JSON.stringify(headers))
          .setHeader("content-length", text.length);
        response.end(text);
      });
    };

  const put = async (app: string, service: string, count: number): Promise<void> => {
    const prefix = app.replace("/", ".");
    for (let index = 1; index <= count; index += 1) {
      const name = `${prefix}.${service}.r1.${index}`;
      const port = await haproxy.upstream(name, listener(name));
      const address = { host: "127.0.0.1", port };
      await haproxy.edge.join(app, { service, slot: "a", name, address });
    }
  };

  before(async () => {
    haproxy = await OwnHaproxy.start();
    const { edge } = haproxy;
    await edge.declare(APP, {
      services: {
        web: { a: policy, b: policy },
        sticky: { a: { ...policy, affinity: true }, b: policy },
        grpc: { a: { ...policy, protocol: "h2c" }, b: policy },
        calls: { a: { ...policy, protocol: "h2c" }, b: policy },
        nobody: { a: policy, b: policy },
        packed: { a: { ...policy, compression: "all" }, b: policy },
      },
      hosts: [
        HOST,
        "sticky.localhost",
        "grpc.localhost",
        "calls.localhost",
        "nobody.localhost",
        "packed.localhost",
      ],
    });
    await edge.declare(OTHER_APP, {
      services: { web: { a: policy, b: policy } },
      hosts: [OTHER_HOST],
    });
    await put(APP, "web", 3);
    await put(APP, "sticky", 3);
    await put(APP, "packed", 1);
    await put(OTHER_APP, "web", 1);
    const at = (host: string, service: string) => ({ host, path: "/", service });
    await edge.shift(APP, {
      slots: { web: "a", sticky: "a", grpc: "a", calls: "a", nobody: "a", packed: "a" },
      releases: { web: 7, sticky: 7, grpc: 7, calls: 7, nobody: 7 },
      routes: [
        at(HOST, "web"),
        at("sticky.localhost", "sticky"),
        at("grpc.localhost", "grpc"),
        at("calls.localhost", "calls"),
        at("nobody.localhost", "nobody"),
        at("packed.localhost", "packed"),
      ],
    });
    await edge.shift(OTHER_APP, {
      slots: { web: "a" },
      releases: { web: 1 },
      routes: [at(OTHER_HOST, "web")],
    });
  });
  after(async () => {
    for (const socket of sockets) socket.destroy();
    await haproxy.stop();
  });

  const open = (servername = HOST, alpn = "http/1.1"): TLSSocket => {
    const socket = connectTls({
      host: "127.0.0.1",
      port: haproxy.httpsPort,
      servername,
      rejectUnauthorized: false,
      ALPNProtocols: [alpn],
    });
    socket.on("error", () => undefined);
    sockets.add(socket);
    return socket;
  };
  /** Sends these bytes and gives what came until the edge closes, or until it looks complete. */
  const raw = (bytes: string | Buffer, isEnough: (text: string) => boolean = () => false) =>
    new Promise<string>((resolve) => {
      const socket = open();
      let text = "";
      socket.setTimeout(15_000, () => socket.destroy());
      socket.on("data", (chunk: Buffer) => {
        text += chunk.toString("latin1");
        if (isEnough(text)) socket.destroy();
      });
      socket.on("close", () => resolve(text));
      socket.write(bytes);
    });
  const statusOf = (text: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]);
  const askRaw = async (head: string): Promise<string> =>
    raw(`${head}\r\nconnection: close\r\n\r\n`);
  const sentOf = (text: string): Record<string, string> =>
    JSON.parse(/^x-sent: (.*)\r$/m.exec(text)?.[1] ?? "{}") as Record<string, string>;

  interface H2Reply {
    readonly status: number;
    readonly text: string;
    readonly error?: string;
  }
  const askH2 = (
    headers: Record<string, string | string[]>,
    body?: Buffer,
    servername = HOST,
  ): Promise<H2Reply> =>
    new Promise((resolve) => {
      const session = connectHttp2(`https://${HOST}:${haproxy.httpsPort}`, {
        createConnection: () => open(servername, "h2"),
      });
      session.on("error", () => undefined);
      const stream = session.request(
        { ":path": "/", ":authority": HOST, ...headers },
        { endStream: body === undefined },
      );
      let [status, text, error] = [0, "", undefined as string | undefined];
      stream.on("response", (answer) => {
        status = Number(answer[":status"]);
      });
      stream.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      stream.on("error", (cause) => {
        error = cause.message;
      });
      stream.on("close", () => {
        session.destroy();
        resolve({ status, text, ...(error !== undefined && { error }) });
      });
      if (body !== undefined) stream.end(body);
    });

  const record = async (mark: string): Promise<Record<RequestColumn, string>> => {
    let line: string | undefined;
    await until(`the record of ${mark}`, () => {
      line = haproxy.records.find((one) => one.includes(mark));
      return line !== undefined;
    });
    const values = (line ?? "").split("\t");
    assert.equal(values.length, REQUEST_COLUMNS.length, line ?? "no line");
    return Object.fromEntries(
      REQUEST_COLUMNS.map((name, at) => [name, values[at] ?? ""]),
    ) as Record<RequestColumn, string>;
  };

  describe("hosts", () => {
    for (const host of [
      "shop.localhost\tx",
      "a b",
      '"quoted".localhost',
      "shop.localhost/x",
      "shop.localhost/",
      "<script>",
      "",
      "no.such@shop.localhost",
      "shop.localhost:port",
      "shop..localhost",
    ])
      it(`answers 400 to ${JSON.stringify(host)}`, async () => {
        const before = got;
        assert.equal(statusOf(await askRaw(`GET / HTTP/1.1\r\nhost: ${host}`)), 400);
        assert.equal(got, before, "no app was asked");
      });

    it("answers 400 to two hosts", async () => {
      const text = await askRaw(`GET / HTTP/1.1\r\nhost: ${HOST}\r\nhost: ${OTHER_HOST}`);
      assert.equal(statusOf(text), 400);
    });

    for (const host of [`${HOST}.`, HOST.toUpperCase(), `${HOST}:8443`, `${HOST}.:443`])
      it(`takes ${host} for the same host`, async () => {
        assert.equal(statusOf(await askRaw(`GET / HTTP/1.1\r\nhost: ${host}`)), 200);
      });

    it("answers 421 for a host of another environment than the connection's", async () => {
      assert.equal((await askH2({ ":authority": OTHER_HOST })).status, 421);
      assert.equal((await askH2({ ":authority": OTHER_HOST }, undefined, OTHER_HOST)).status, 200);
      assert.equal((await askH2({ ":authority": "sticky.localhost" })).status, 200);
      const text = await askRaw(`GET / HTTP/1.1\r\nhost: ${OTHER_HOST}`);
      assert.equal(statusOf(text), 421);
    });
  });

  describe("headers", () => {
    it("lets no client take headers of the edge away", async () => {
      const names = "x-forwarded-for, x-real-ip, x-forwarded-proto, x-request-id, traceparent";
      const text = await raw(
        `GET / HTTP/1.1\r\nhost: ${HOST}\r\nconnection: close, ${names}\r\n\r\n`,
      );
      const sent = sentOf(text);
      assert.equal(sent["x-forwarded-for"], "127.0.0.1");
      assert.equal(sent["x-forwarded-proto"], "https");
      for (const name of ["x-real-ip", "x-request-id", "traceparent"])
        assert.ok(sent[name], `${name} is there`);
      assert.doesNotMatch(sent["connection"] ?? "", /x-forwarded|x-real/);
    });

    it("lets no client choose an arm where nothing is split", async () => {
      const baggage = "baggage: user=1, holdfast-arm=candidate";
      const text = await askRaw(`GET / HTTP/1.1\r\nhost: ${HOST}\r\n${baggage}`);
      assert.doesNotMatch(sentOf(text)["baggage"] ?? "", /holdfast-arm/);
      const harmless = await askRaw(`GET / HTTP/1.1\r\nhost: ${HOST}\r\nbaggage: user=1`);
      assert.equal(sentOf(harmless)["baggage"], "user=1");
    });

    for (const what of ["h2c", "TLS/1.0", "websocket2"])
      it(`drops an upgrade to ${what}`, async () => {
        const text = await raw(
          `GET / HTTP/1.1\r\nhost: ${HOST}\r\nconnection: upgrade, http2-settings\r\nupgrade: ${what}\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n`,
          (sofar) => sofar.includes("whole whole"),
        );
        assert.equal(statusOf(text), 200);
        assert.equal(sentOf(text)["upgrade"], undefined);
        assert.doesNotMatch(sentOf(text)["connection"] ?? "", /upgrade/i);
      });

    it("counts headers over HTTP/2 as over HTTP/1.1", async () => {
      const many = Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`x-${i}`, "1"]));
      assert.equal((await askH2(many)).status, 431);
      const lines = Object.keys(many).map((name) => `${name}: 1`);
      const text = await askRaw(`GET / HTTP/1.1\r\nhost: ${HOST}\r\n${lines.join("\r\n")}`);
      assert.equal(statusOf(text), 431);
    });
  });

  describe("records", () => {
    it("has one of a URL of any length, cut, with its length", async () => {
      const url = `/long-${"x".repeat(6_000)}?q=${"y".repeat(5_000)}`;
      assert.equal(statusOf(await askRaw(`GET ${url} HTTP/1.1\r\nhost: ${HOST}`)), 200);
      const { path, urlBytes, status } = await record("/long-x");
      assert.equal(Number(urlBytes), url.length);
      assert.equal(status, "200");
      assert.ok(path.length > 3_000 && path.length < url.length);
    });

    it("keeps what clients choose in its column", async () => {
      const text = await askRaw(
        `GET /forged HTTP/1.1\r\nhost: ${HOST}\r\nuser-agent: a\tb\\t"c"\u00e4`,
      );
      assert.equal(statusOf(text), 200);
      const { userAgent, status } = await record("/forged");
      assert.equal(status, "200");
      assert.match(userAgent, /^a\\tb\\\\t/);
    });

    it("puts a request that no instance got down to the release in its slot", async () => {
      const text = await askRaw("GET /nobody HTTP/1.1\r\nhost: nobody.localhost");
      assert.equal(statusOf(text), 503);
      const { pool, instance, release } = await record("/nobody");
      assert.deepEqual([pool, instance, release], ["production.shop.nobody.a", "<NOSRV>", "7"]);
    });

    it("tells an answer that the app broke off from one that is whole", async () => {
      await raw(`GET /cut/1 HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`);
      await askH2({ ":path": "/cut/2" });
      await askRaw(`GET /whole HTTP/1.1\r\nhost: ${HOST}`);
      assert.match((await record("/cut/1")).ending, /^SD/);
      assert.match((await record("/cut/2")).ending, /^SD/);
      assert.match((await record("/whole")).ending, /^--/);
    });
  });

  describe("apps that die of a request", () => {
    it("tries one other instance, and no third", async () => {
      poisoned = [];
      const text = await askRaw(`GET /poison HTTP/1.1\r\nhost: ${HOST}`);
      assert.equal(statusOf(text), 502);
      assert.equal(poisoned.length, 2);
      assert.equal(new Set(poisoned).size, 2, "each once");
    });

    it("repeats nothing that may not be", async () => {
      poisoned = [];
      const text = await askRaw(`POST /poison HTTP/1.1\r\nhost: ${HOST}\r\ncontent-length: 0`);
      assert.equal(statusOf(text), 502);
      assert.equal(poisoned.length, 1);
    });
  });

  describe("bodies", () => {
    const over = Buffer.alloc(BODY_MAX + 20_000, "x");
    const chunked = (body: Buffer): Buffer =>
      Buffer.concat([
        Buffer.from(
          `POST / HTTP/1.1\r\nhost: ${HOST}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n${body.length.toString(16)}\r\n`,
        ),
        body,
        Buffer.from("\r\n0\r\n\r\n"),
      ]);

    it("answers 413 over HTTP/1.1, with a length and in chunks", async () => {
      const head = `POST / HTTP/1.1\r\nhost: ${HOST}\r\ncontent-length: ${over.length}\r\nconnection: close\r\n\r\n`;
      const text = await raw(Buffer.concat([Buffer.from(head), over]));
      assert.equal(statusOf(text), 413);
      assert.match(text, /Too large/);
      const unsaid = await raw(chunked(over));
      assert.equal(statusOf(unsaid), 413, unsaid.slice(0, 200));
      assert.match(unsaid, /larger than this site accepts/);
    });

    it("answers 413 over HTTP/2, with a length and without", async () => {
      const said = await askH2({ ":method": "POST", "content-length": String(over.length) }, over);
      assert.deepEqual([said.status, said.error], [413, undefined]);
      const unsaid = await askH2({ ":method": "POST" }, over);
      assert.deepEqual([unsaid.status, unsaid.error], [413, undefined]);
    });

    it("answers 413 at once to who asks before sending", async () => {
      const text = await raw(
        `POST / HTTP/1.1\r\nhost: ${HOST}\r\ncontent-length: ${over.length}\r\nexpect: 100-continue\r\n\r\n`,
        (sofar) => sofar.includes("\r\n\r\n"),
      );
      assert.equal(statusOf(text), 413);
    });

    it("passes on what is within the limit, however it comes", async () => {
      const body = over.subarray(0, BODY_MAX - 100);
      assert.equal(statusOf(await raw(chunked(body))), 200);
      assert.equal((await askH2({ ":method": "POST" }, body)).status, 200);
      const said = { ":method": "POST", "content-length": String(body.length) };
      assert.equal((await askH2(said, body)).status, 200);
    });

    for (const [what, head] of [
      ["POST", "POST / HTTP/1.1\r\ncontent-length: 1000"],
      ["DELETE", "DELETE / HTTP/1.1\r\ncontent-length: 1000"],
      ["GET", "GET / HTTP/1.1\r\ncontent-length: 1000"],
      ["POST in chunks", "POST / HTTP/1.1\r\ntransfer-encoding: chunked"],
      ["GET in chunks", "GET / HTTP/1.1\r\ntransfer-encoding: chunked"],
      ["REPORT in chunks", "REPORT / HTTP/1.1\r\ntransfer-encoding: chunked"],
    ] as const)
      it(`holds no instance while bodies trickle in: ${what}`, async () => {
        const before = got;
        const slow = Array.from({ length: 40 }, () => {
          const socket = open();
          socket.write(
            `${head}\r\nhost: ${HOST}\r\n\r\n${head.includes("chunked") ? "1\r\nx\r\n" : "x"}`,
          );
          return socket;
        });
        await sleep(systemClock, 500);
        assert.equal(got, before, "no instance was asked");
        assert.equal(statusOf(await askRaw(`GET / HTTP/1.1\r\nhost: ${HOST}`)), 200);
        assert.equal(statusOf(await raw(chunked(over.subarray(0, 100)))), 200);
        for (const socket of slow) socket.destroy();
      });

    for (const method of ["GET", "HEAD", "OPTIONS", "DELETE", "REPORT"])
      it(`lets no ${method} bring a body that nobody counts, over HTTP/2`, async () => {
        const { status } = await askH2({ ":method": method }, over);
        assert.ok([411, 413].includes(status), String(status));
      });
  });

  describe("streams and tunnels", () => {
    it("does not cut a stream of events that is quiet", async () => {
      const text = await askRaw(
        `GET /events HTTP/1.1\r\nhost: ${HOST}\r\naccept: text/event-stream`,
      );
      assert.match(text, /data: 2/);
    });

    it("cuts no other answer that is quiet, where HAProxy has a rule for it", async (t) => {
      if (Number.parseInt((await haproxyVersion()) ?? "", 10) < 3)
        return t.skip("HAProxy before 3.0 has none: see docs/decisions/0015");
      const text = await askRaw(`GET /events HTTP/1.1\r\nhost: ${HOST}`);
      assert.match(text, /data: 2/);
    });

    it("keeps room for requests beside streams of events", async () => {
      const streams = Array.from({ length: 3 * ROOM + 3 }, () =>
        askRaw(`GET /events HTTP/1.1\r\nhost: ${HOST}\r\naccept: text/event-stream`),
      );
      await sleep(systemClock, 300);
      // While all of them go on: it does not wait for one of them to end.
      const answer = await first(askRaw(`GET / HTTP/1.1\r\nhost: ${HOST}`), TIMEOUT_MS);
      assert.equal(statusOf(answer ?? ""), 200);
      for (const text of await Promise.all(streams)) assert.match(text, /data: 2/);
    });

    it("answers 504 where nothing begins in time", async () => {
      assert.equal(statusOf(await askRaw(`GET /slow HTTP/1.1\r\nhost: ${HOST}`)), 504);
    });

    it("holds back no line of a stream where the client reads gzip", async () => {
      const startedAt = performance.now();
      const text = await raw(
        `GET /lines HTTP/1.1\r\nhost: ${HOST}\r\naccept-encoding: gzip\r\n\r\n`,
        (sofar) => sofar.includes('a"}\n'),
      );
      assert.match(text, /a"\}\n/);
      assert.ok(
        performance.now() - startedAt < TIMEOUT_MS / 2,
        "before the second line was written",
      );
    });

    it("compresses all that it is told to", async () => {
      const text = await raw(
        `GET / HTTP/1.1\r\nhost: packed.localhost\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n`,
      );
      assert.match(text, /content-encoding: gzip/i);
      const [, body = ""] = text.split("\r\n\r\n");
      const at = body.indexOf("\r\n");
      const size = Number.parseInt(body.slice(0, at), 16);
      const bytes = Buffer.from(body.slice(at + 2, at + 2 + size), "latin1");
      assert.match(gunzipSync(bytes, { finishFlush: 2 }).toString(), /^whole whole/);
    });

    it("keeps room for requests beside tunnels, and bounds those", async () => {
      const name = "production.shop.web.r1.tunnels";
      const server = createNetServer((socket) => {
        sockets.add(socket);
        socket.on("error", () => undefined);
        socket.once("data", (head: Buffer) => {
          socket.write(
            head.includes("upgrade: websocket")
              ? acceptWebSocket(head.toString())
              : "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
          );
        });
      });
      const address = { host: "127.0.0.1", port: await haproxy.listen(name, server) };
      const others = haproxy.edge.servers(APP).filter(({ service }) => service === "web");
      await haproxy.edge.join(APP, { service: "web", slot: "a", name, address });
      for (const one of others) await haproxy.edge.drain(APP, one);
      const tunnel = () =>
        raw(`GET /ws HTTP/1.1\r\nhost: ${HOST}\r\nconnection: upgrade\r\n${WEBSOCKET}\r\n\r\n`);
      const opened: Promise<string>[] = Array.from({ length: 8 }, tunnel);
      await sleep(systemClock, 300);
      assert.equal(statusOf(await askRaw(`GET / HTTP/1.1\r\nhost: ${HOST}`)), 200);
      const view = await haproxy.edge.observe(APP);
      assert.equal(view?.servers.find((one) => one.name === name)?.requests, 8);
      // Every tunnel of the instance is taken: the rest wait, and do so in a bounded queue.
      const more = await Promise.all(
        Array.from({ length: 6 }, tunnel).map((one) => first(one, 2_000)),
      );
      assert.ok(
        more.some((text) => text === undefined || statusOf(text) === 503),
        "the ninth tunnel is not opened",
      );
      for (const one of others) await haproxy.edge.join(APP, one);
      await haproxy.edge.leave(APP, { service: "web", slot: "a", name });
      assert.equal((await Promise.all(opened)).filter((text) => statusOf(text) === 101).length, 8);
    });

    it("keeps a tunnel through a reload that another app causes", async () => {
      const name = "production.shop.web.r1.echo";
      const server = createNetServer((socket) => {
        sockets.add(socket);
        socket.on("error", () => undefined);
        socket.once("data", (head: Buffer) => {
          socket.write(acceptWebSocket(head.toString()));
          socket.pipe(socket);
        });
      });
      const address = { host: "127.0.0.1", port: await haproxy.listen(name, server) };
      const others = haproxy.edge.servers(APP).filter(({ service }) => service === "web");
      await haproxy.edge.join(APP, { service: "web", slot: "a", name, address });
      for (const one of others) await haproxy.edge.drain(APP, one);
      const socket = open();
      let text = "";
      socket.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      socket.write(
        `GET /ws HTTP/1.1\r\nhost: ${HOST}\r\nconnection: upgrade\r\n${WEBSOCKET}\r\n\r\n`,
      );
      await until("the tunnel is open", () => text.includes("101"));
      await haproxy.edge.declare("production/another", {
        services: { web: { a: policy, b: policy } },
        hosts: ["another.localhost"],
      });
      await sleep(systemClock, 1_000);
      socket.write("after the reload");
      await until("the echo comes back", () => text.endsWith("after the reload"));
      const config = haproxy.readFile("haproxy.cfg");
      assert.match(config, /hard-stop-after 12h/);
      assert.match(config, /mworker-max-reloads 10/);
      const engine = haproxy.edge.asEngine();
      assert.match(
        (await engine.observe("edge", haproxy.signal)).note ?? "",
        /^long connections live on in 1 earlier worker, [1-9]\d* MB$/,
      );
      socket.destroy();
      await until("the earlier worker ends with its last connection", async () =>
        engine.observe("edge", haproxy.signal).then(({ note }) => note === undefined),
      );
      for (const one of others) await haproxy.edge.join(APP, one);
      await haproxy.edge.leave(APP, { service: "web", slot: "a", name });
    });
  });

  describe("instances", () => {
    it("keeps a client with its instance where that is asked for", async () => {
      const first = await haproxy.ask("sticky.localhost");
      const [cookie = ""] = (first.headers["set-cookie"]?.[0] ?? "").split(";");
      assert.match(cookie, /^holdfast-instance=/);
      for (let count = 0; count < 12; count += 1)
        assert.equal((await haproxy.ask("sticky.localhost", "/", { cookie })).by, first.by);
      const others = await Promise.all(
        Array.from({ length: 12 }, () => haproxy.ask("sticky.localhost")),
      );
      assert.equal(new Set(others.map(({ by }) => by)).size, 3, "clients without it are spread");
    });

    it("speaks HTTP/2 to those that do", async () => {
      const server = createHttp2Server();
      server.on("stream", (stream: ServerHttp2Stream, headers) => {
        stream.respond(
          { ":status": 200, "content-type": "application/grpc" },
          { waitForTrailers: true },
        );
        stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
        stream.end(`${headers[":path"]}`);
      });
      const name = "production.shop.grpc.r1.1";
      const address = { host: "127.0.0.1", port: await haproxy.listen(name, server) };
      await haproxy.edge.join(APP, { service: "grpc", slot: "a", name, address });
      const call = { ":authority": "grpc.localhost", ":path": "/shop.Cart/Add", te: "trailers" };
      const body = Buffer.from("a message");
      const reply = await askH2({ ...call, ":method": "POST" }, body, "grpc.localhost");
      assert.deepEqual(reply, { status: 200, text: "/shop.Cart/Add" });
    });
  });

  it("passes calls of gRPC on, both ways at once", async () => {
    const bytes = { serialize: (it: Buffer) => it, deserialize: (it: Buffer) => it };
    const method = (name: string, isStream: boolean) => ({
      path: `/shop.Cart/${name}`,
      requestStream: isStream,
      responseStream: isStream,
      requestSerialize: bytes.serialize,
      requestDeserialize: bytes.deserialize,
      responseSerialize: bytes.serialize,
      responseDeserialize: bytes.deserialize,
    });
    const definition = { add: method("Add", false), chat: method("Chat", true) };
    const server = new grpc.Server();
    server.addService(definition, {
      add: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) =>
        done(null, Buffer.from(`added ${call.request}`)),
      chat: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
        call.on("data", (it: Buffer) => call.write(Buffer.from(`echo ${it}`)));
        call.on("end", () => call.end());
      },
    });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      );
    });
    const name = "production.shop.calls.r1.1";
    const address = { host: "127.0.0.1", port };
    await haproxy.edge.join(APP, { service: "calls", slot: "a", name, address });
    const credentials = grpc.credentials.createSsl(
      readFileSync(join(haproxy.root, "ca", "ca.crt")),
    );
    const Client = grpc.makeGenericClientConstructor(definition, "shop.Cart");
    const client = new Client(`127.0.0.1:${haproxy.httpsPort}`, credentials, {
      "grpc.ssl_target_name_override": "calls.localhost",
      "grpc.default_authority": "calls.localhost",
    });
    try {
      const added = await new Promise<Buffer>((resolve, reject) => {
        client["add"]?.(Buffer.from("a tent"), (error: Error | null, value: Buffer) =>
          error ? reject(error) : resolve(value),
        );
      });
      assert.equal(added.toString(), "added a tent");
      const chat = client["chat"]?.() as unknown as grpc.ClientDuplexStream<Buffer, Buffer>;
      chat.on("error", () => undefined);
      const heard: string[] = [];
      chat.on("data", (it: Buffer) => heard.push(it.toString()));
      for (const word of ["one", "two", "three"]) {
        chat.write(Buffer.from(word));
        // Each is answered while the call goes on.
        await until(`the answer to ${word}`, () => heard.at(-1) === `echo ${word}`);
      }
      chat.end();
    } finally {
      client.close();
      server.forceShutdown();
    }
  });

  it("lets one address have so many requests under way, over HTTP/2 and in tunnels too", async () => {
    const policyOfFew = { ...policy, limits: { ...policy.limits, connections: 3 } };
    const { edge } = haproxy;
    await edge.declare("production/few", {
      services: { web: { a: policyOfFew, b: policyOfFew } },
      hosts: ["few.localhost"],
    });
    await put("production/few", "web", 2);
    await edge.shift("production/few", {
      slots: { web: "a" },
      releases: { web: 1 },
      routes: [{ host: "few.localhost", path: "/", service: "web" }],
    });
    const session = connectHttp2("https://few.localhost", {
      createConnection: () => open("few.localhost", "h2"),
    });
    session.on("error", () => undefined);
    const slow = (headers: Record<string, string> = {}): Promise<number> =>
      new Promise((resolve) => {
        const stream = session.request({
          ":path": "/slow",
          ":authority": "few.localhost",
          ...headers,
        });
        stream.on("response", (answer) => resolve(Number(answer[":status"])));
        stream.on("error", () => resolve(0)).resume();
      });
    const events = { accept: "text/event-stream" };
    // Streams of events and requests are of one count.
    const asked = [slow(), slow(), slow(events), slow(), slow(events)];
    const statuses = await Promise.all(asked);
    assert.deepEqual(statuses.slice(3), [429, 429]);
    assert.ok(!statuses.slice(0, 3).includes(429), statuses.join(" "));
    await until("there is room again", async () => {
      const text = await askRaw("GET / HTTP/1.1\r\nhost: few.localhost");
      return statusOf(text) === 200;
    });
    session.destroy();
  });

  it("refuses connections of one address beyond its share, and takes others then", async () => {
    const idle = Array.from({ length: 130 }, () => open());
    await sleep(systemClock, 1_500);
    const alive = idle.filter((socket) => !socket.destroyed && socket.authorized !== undefined);
    const closed = idle.filter((socket) => socket.destroyed).length;
    assert.ok(closed >= 30, `${closed} of ${idle.length} were refused`);
    assert.ok(alive.length <= 100);
    for (const socket of idle) socket.destroy();
    await until("there is room again", async () =>
      askRaw(`GET / HTTP/1.1\r\nhost: ${HOST}`).then((text) => statusOf(text) === 200),
    );
  });
});

const WEBSOCKET = "upgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
/** As RFC 6455 has it: HAProxy looks. */
const acceptWebSocket = (head: string): string => {
  const key = /sec-websocket-key: (\S+)/i.exec(head)?.[1] ?? "";
  const accept = createHash("sha1")
    .update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest("base64");
  return `HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ${accept}\r\n\r\n`;
};

const first = <Result>(work: Promise<Result>, ms: number): Promise<Result | undefined> =>
  Promise.race([work, sleep(systemClock, ms).then(() => undefined)]);

describe("plain HTTP and proxies in front of HAProxy", { timeout: 120_000 }, () => {
  let haproxy: OwnHaproxy;
  let httpPort = 0;
  before(async () => {
    httpPort = await findFreePort(new Set(), String(Math.random()), {
      first: 19_200,
      last: 19_900,
    });
    haproxy = await OwnHaproxy.start({ httpPort, trustedProxies: ["127.0.0.1", "10.0.0.0/8"] });
    await haproxy.edge.declare(APP, {
      services: { web: { a: policy, b: policy } },
      hosts: [HOST, "plain.localhost"],
      plainHosts: ["plain.localhost"],
    });
    const name = "production.shop.web.r1.1";
    const address = { host: "127.0.0.1", port: await haproxy.upstream(name) };
    await haproxy.edge.join(APP, { service: "web", slot: "a", name, address });
    await haproxy.edge.shift(APP, {
      slots: { web: "a" },
      releases: { web: 1 },
      routes: [HOST, "plain.localhost"].map((host) => ({ host, path: "/", service: "web" })),
    });
  });
  after(() => haproxy.stop());

  const ask = (localAddress: string, headers: Record<string, string>, path = "/") =>
    new Promise<{ status: number; location: string; sent: Record<string, string> }>(
      (resolve, reject) => {
        request(
          { host: "127.0.0.1", port: httpPort, path, headers, localAddress, agent: false },
          (answer) => {
            answer.resume();
            resolve({
              status: answer.statusCode ?? 0,
              location: answer.headers.location ?? "",
              sent: JSON.parse(String(answer.headers["x-sent"] ?? "{}")) as Record<string, string>,
            });
          },
        )
          .on("error", reject)
          .end();
      },
    );
  const proxied = { "x-forwarded-proto": "https", "x-forwarded-for": "198.51.100.1, 203.0.113.9" };

  it("believes a proxy that is trusted, and its own last word only", async () => {
    const { status, sent } = await ask("127.0.0.1", { host: HOST, ...proxied });
    assert.equal(status, 200);
    assert.equal(sent["x-forwarded-for"], "203.0.113.9");
    assert.equal(sent["x-forwarded-proto"], "https");
  });

  it("believes nobody else", async () => {
    assert.equal((await ask("127.0.0.2", { host: HOST, ...proxied })).status, 308);
    const { sent } = await ask("127.0.0.2", { host: "plain.localhost", ...proxied });
    assert.equal(sent["x-forwarded-for"], "127.0.0.2");
    assert.equal(sent["x-forwarded-proto"], "http");
  });

  it("leads to HTTPS with the whole URL, whatever its length", async () => {
    const path = `/${"p".repeat(5_000)}?q=${"x".repeat(3_000)}`;
    const { status, location } = await ask("127.0.0.2", { host: HOST }, path);
    assert.equal(status, 308);
    assert.equal(location, `https://${HOST}:${haproxy.httpsPort}${path}`);
  });

  it("answers over plain HTTP where an app wants that", async () => {
    assert.equal((await ask("127.0.0.2", { host: "plain.localhost" })).status, 200);
    assert.equal((await ask("127.0.0.2", { host: "plain.localhost:80" })).status, 200);
  });
});
