import assert from "node:assert/strict";
import { createServer, type RequestListener } from "node:http";
import { createServer as createHttp2Server, type ServerHttp2Stream } from "node:http2";
import { type AddressInfo, createServer as createNetServer, type Server } from "node:net";
import { after, describe, it } from "node:test";
import { defaultHealth } from "../../resources/app/manifest.ts";
import { NetworkProbe } from "./http-probe.ts";

describe("health probe", () => {
  const servers: Server[] = [];
  after(() => servers.map((server) => server.close()));
  const listen = async (server: Server) => {
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return { host: "127.0.0.1", port: (server.address() as AddressInfo).port };
  };
  const answering = (listener: RequestListener) => listen(createServer(listener));
  const probe = new NetworkProbe();
  const { signal } = new AbortController();
  const health = { ...defaultHealth, timeout: 500 };

  for (const status of [200, 301, 401, 404])
    it(`takes ${status} for life where no path is given`, async () => {
      const address = await answering((_, response) => response.writeHead(status).end());
      const { ok, detail } = await probe.probe(address, health, signal);
      assert.deepEqual([ok, detail], [true, `GET / → ${status} (expected 100-499)`]);
    });

  it("takes an error of the app's own for none, and shows it", async () => {
    const address = await answering((_, response) => response.writeHead(500).end("no database"));
    const { ok, detail } = await probe.probe(address, health, signal);
    assert.deepEqual([ok, detail], [false, "GET / → 500: no database (expected 100-499)"]);
  });

  it("takes an accepted connection for none", async () => {
    const address = await listen(createNetServer((socket) => void socket.on("error", () => {})));
    const { ok, detail } = await probe.probe(address, health, signal);
    assert.deepEqual([ok, detail], [false, "GET / → no answer within 500 ms"]);
  });

  it("asks twice: one answer may be the last", async () => {
    let asked = 0;
    const address = await answering((request, response) => {
      asked += 1;
      if (asked === 1) response.end("well");
      else request.socket.destroy();
    });
    assert.equal((await probe.probe(address, health, signal)).ok, false);
    assert.equal(asked, 2);
  });

  it("takes what a path answers by its own range, asked once", async () => {
    let asked = 0;
    const address = await answering((_, response) => {
      asked += 1;
      response.writeHead(404).end();
    });
    const own = { ...health, path: "/healthz" };
    assert.equal((await probe.probe(address, own, signal)).ok, false);
    assert.equal((await probe.probe(address, { ...own, status: "404" }, signal)).ok, true);
    assert.equal(asked, 2);
  });

  it("asks in HTTP/2 what speaks nothing else", async () => {
    const server = createHttp2Server();
    server.on("stream", (stream: ServerHttp2Stream, headers) => {
      stream.respond({ ":status": headers[":path"] === "/well" ? 200 : 503 });
      stream.end("h2");
    });
    const address = await listen(server);
    const own = { ...health, path: "/well" };
    assert.equal((await probe.probe(address, own, signal)).ok, false, "not in HTTP/1.1");
    assert.equal((await probe.probe(address, { ...own, protocol: "h2c" }, signal)).ok, true);
    const other = await probe.probe(address, { ...own, path: "/x", protocol: "h2c" }, signal);
    assert.equal(other.detail, "GET /x → 503: h2 (expected 200-299)");
  });

  it("says that nothing listens", async () => {
    const server = createServer();
    const address = await listen(server);
    await new Promise((resolve) => server.close(resolve));
    for (const protocol of [{}, { protocol: "h2c" as const }])
      assert.equal(
        (await probe.probe(address, { ...health, ...protocol }, signal)).detail,
        "GET / → connection refused",
      );
  });
});
