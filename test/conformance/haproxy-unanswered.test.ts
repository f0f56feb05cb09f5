// What the edge says of requests that hang, on a HAProxy of its own.

import assert from "node:assert/strict";
import { connect as connectHttp2 } from "node:http2";
import { after, before, describe, it } from "node:test";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { REQUEST_COLUMNS } from "../../src/kernel/signal.ts";
import type { UnansweredRequest } from "../../src/resources/app/app-driver.ts";
import { defaultHealth, defaultLimits } from "../../src/resources/app/manifest.ts";
import { OwnHaproxy } from "../support/own-haproxy.ts";
import { until } from "../support/wait.ts";

const APP = "production/shop";
const HOST = "shop.localhost";
const NAME = "production.shop.web.r3.1";
const UPGRADE =
  "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

describe("unanswered requests at HAProxy", { timeout: 120_000 }, () => {
  let haproxy: OwnHaproxy;
  const sockets: TLSSocket[] = [];
  const seen = (): Promise<readonly UnansweredRequest[]> => haproxy.edge.unanswered(APP);
  const ends = (): string[] =>
    haproxy.records.map((line) => line.split("\t")[REQUEST_COLUMNS.indexOf("ending")] ?? "");

  const open = (alpn = "http/1.1"): TLSSocket => {
    const socket = connectTls({
      ...{ host: "127.0.0.1", port: haproxy.httpsPort, servername: HOST },
      ...{ rejectUnauthorized: false, ALPNProtocols: [alpn] },
    });
    socket.on("error", () => undefined);
    sockets.push(socket);
    return socket;
  };
  const send = (method: string, path: string, rest = "\r\n"): TLSSocket => {
    const socket = open();
    socket.write(`${method} ${path} HTTP/1.1\r\nhost: ${HOST}\r\n${rest}`);
    return socket;
  };

  before(async () => {
    haproxy = await OwnHaproxy.start();
    const policy = { health: defaultHealth, limits: defaultLimits };
    await haproxy.edge.declare(APP, {
      services: { web: { a: policy, b: policy } },
      hosts: [HOST],
    });
    const port = await haproxy.upstream(NAME, (request, response) => {
      if (request.url?.startsWith("/half")) response.writeHead(200).write("half");
      else if (!request.url?.startsWith("/hang")) response.end("ok");
    });
    const address = { host: "127.0.0.1", port };
    await haproxy.edge.join(APP, { service: "web", slot: "a", name: NAME, address });
    await haproxy.edge.shift(APP, {
      slots: { web: "a" },
      releases: { web: 3 },
      routes: [{ host: HOST, path: "/", service: "web" }],
    });
  });
  after(async () => {
    for (const socket of sockets) socket.destroy();
    await haproxy.stop();
  });

  it("are those that an instance holds and has not begun to answer, with their age", async () => {
    assert.equal((await haproxy.ask(HOST)).status, 200);
    send("GET", "/hang");
    send("POST", "/hang", "content-length: 2\r\n\r\nab");
    const session = connectHttp2(`https://${HOST}`, { createConnection: () => open("h2") });
    session.on("error", () => undefined);
    const stream = session.request({ ":path": "/hang", ":authority": HOST });
    stream.on("error", () => undefined);
    // Neither what has begun, nor what the instance does not have yet, nor streams.
    send("GET", "/half");
    send("POST", "/hang", "content-length: 20\r\n\r\nab");
    send("GET", "/hang", "accept: text/event-stream\r\n\r\n");
    send("GET", "/hang", `${UPGRADE}\r\n`);
    await until("three wait", async () => (await seen()).length === 3);
    assert.ok((await seen()).every(({ ageMs }) => ageMs <= 2_000));
    await until("they age", async () => (await seen()).every(({ ageMs }) => ageMs >= 2_000));
    const waiting = await seen();
    assert.equal(waiting.length, 3);
    for (const { service, server } of waiting) assert.deepEqual([service, server], ["web", NAME]);
    assert.deepEqual(await haproxy.edge.unanswered("production/other"), []);
    session.destroy();
  });

  it("are gone once their clients are, and their records say that none got an answer", async () => {
    haproxy.records.length = 0;
    for (const socket of sockets) socket.destroy();
    await until("nobody waits", async () => (await seen()).length === 0);
    await until("they have records", () => ends().filter((one) => /^CH/.test(one)).length >= 3);
  });
});
