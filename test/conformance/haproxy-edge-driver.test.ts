import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { HaproxyEdgeDriver } from "../../src/drivers/haproxy/haproxy-edge-driver.ts";
import { RuntimeApi } from "../../src/drivers/haproxy/runtime-api.ts";
import { LocalCa } from "../../src/drivers/local-ca/local-ca.ts";
import { findFreePort } from "../../src/drivers/process/free-port.ts";
import { systemClock } from "../../src/kernel/clock.ts";
import { defaultHealth, defaultLimits } from "../../src/resources/app/manifest.ts";
import { until } from "../support/wait.ts";
import { runEdgeSuite } from "./edge-driver.suite.ts";

const root = mkdtempSync(join(tmpdir(), "holdfast-edge-"));
const httpsPort = await findFreePort(new Set(), root, { first: 18_000, last: 18_999 });
const ca = new LocalCa({
  dir: join(root, "ca"),
  givenDir: join(root, "given"),
  listFile: join(root, "crt-list.txt"),
  now: systemClock.now,
});
const servers: Server[] = [];

const open = (): HaproxyEdgeDriver =>
  new HaproxyEdgeDriver({
    clock: systemClock,
    ca,
    logFile: join(root, "engine.edge.log"),
    masterSocket: join(root, "master.sock"),
    layout: {
      httpBinds: [],
      httpsBinds: [`127.0.0.1:${httpsPort}`],
      httpsPort,
      dir: root,
      adminSocket: join(root, "admin.sock"),
      requestSocket: join(root, "requests.sock"),
      usageSocket: join(root, "usage.sock"),
      metricsBind: join(root, "metrics.sock"),
      maxConnections: 200,
      user: undefined,
      threads: 1,
      telemetry: true,
    },
  });
const edge = open();
const engine = edge.asEngine();
const signal = AbortSignal.timeout(120_000);

before(async () => {
  await engine.create("edge", signal);
  await engine.start("edge", signal);
  await until(
    "HAProxy is up",
    async () => (await engine.observe("edge", signal)).process === "ready",
  );
});
after(async () => {
  await engine.stop("edge", signal);
  for (const server of servers) server.close();
  rmSync(root, { recursive: true, force: true });
});

const ports = new Map<string, number>();

runEdgeSuite({
  name: "haproxy",
  edge: () => edge,
  reopen: open,
  upstream: async (name) => {
    const known = ports.get(name);
    if (known !== undefined) return known;
    const server = createServer((_request, response) => response.end(name));
    servers.push(server);
    const port = await new Promise<number>((resolve) => {
      server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port));
    });
    ports.set(name, port);
    return port;
  },
  ask: (host, path = "/") =>
    new Promise((resolve, reject) => {
      const options = {
        host: "127.0.0.1",
        port: httpsPort,
        path,
        agent: false,
        servername: host,
        ca: readFileSync(join(root, "ca", "ca.crt")),
        headers: { host },
        rejectUnauthorized: false,
      };
      const asked = request(options, (answer) => {
        let text = "";
        answer.setEncoding("utf8").on("data", (chunk: string) => {
          text += chunk;
        });
        answer.on("end", () => resolve(answer.statusCode === 200 ? text : undefined));
      });
      asked.on("error", reject).end();
    }),
});

describe("edge driver: haproxy, after a kill between writing and loading", () => {
  const APP = "production/lost";
  const policy = { health: defaultHealth, limits: defaultLimits };
  const declaration = { services: { web: { a: policy, b: policy } }, hosts: ["lost.localhost"] };
  const worker = async (): Promise<string | undefined> =>
    /^Pid: (\d+)$/m.exec(await new RuntimeApi(join(root, "admin.sock")).ask("show info"))?.[1];

  it("still owes the reload, and does it when it is declared again", async () => {
    await edge.declare(APP, declaration);
    assert.equal((await edge.observe(APP))?.isLoaded, true);
    // What was written is there, what says that it was loaded is not.
    writeFileSync(join(root, "loaded"), "an earlier one");
    const returned = open();
    assert.deepEqual((await returned.observe(APP))?.declaration, declaration);
    assert.equal((await returned.observe(APP))?.isLoaded, false);
    const before = await worker();
    await returned.declare(APP, declaration);
    assert.equal((await returned.observe(APP))?.isLoaded, true);
    assert.notEqual(await worker(), before, "HAProxy runs another worker");
    const now = await worker();
    await returned.declare(APP, declaration);
    assert.equal(await worker(), now, "and is left alone where nothing is owed");
    await returned.withdraw(APP);
  });
});
