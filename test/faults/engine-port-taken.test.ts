// Ports of engines are chosen once and kept; where somebody else listens there by now, another one is
// taken, since nobody outside knows them.

import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server } from "node:net";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { AppFolder, ECHO_SERVER } from "../support/app-folder.ts";
import { ask } from "../support/ask.ts";
import { Installation } from "../support/installation.ts";
import { until } from "../support/wait.ts";

describe("with ports of its engines taken", { timeout: 240_000 }, () => {
  const holdfast = new Installation();
  const folder = new AppFolder({
    "server.js": ECHO_SERVER,
    "holdfast.yaml":
      "name: moved\nstores: { postgres: {}, redis: {} }\nservices: { web: { command: node server.js, health: { path: /healthz }, routes: [{ host: moved.localhost }] } }\n",
  });
  const squatters: Server[] = [];
  const doors = ["otlpHttp", "otlpGrpc", "edgeMetrics"] as const;
  const take = async (port: number | undefined): Promise<void> => {
    const server = createServer((socket) => socket.destroy());
    squatters.push(server);
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  };
  const engines = ["postgres", "redis", "redis-exporter"].map((name) => `${name}.production`);

  before(async () => {
    await holdfast.ok("up", "--install");
    await holdfast.ok("deploy", folder.dir);
  });
  after(async () => {
    for (const server of squatters) server.close();
    await holdfast.close();
    folder.remove();
  });

  it("starts each at another, and the apps that need them", async () => {
    const before = holdfast.ports.engines;
    await holdfast.ok("down", "--all");
    const doorsBefore = holdfast.ports;
    for (const name of engines) await take(before[name]);
    for (const door of doors) await take(doorsBefore[door]);
    await holdfast.ok("up");
    for (const door of doors) assert.notEqual(holdfast.ports[door], doorsBefore[door], door);
    assert.equal(holdfast.ports.https, doorsBefore.https);
    await until("it serves again", async () =>
      ask(holdfast, { host: "moved.localhost", path: "/" }).then(
        ({ status }) => status === 200,
        () => false,
      ),
    );
    interface Status {
      readonly engines: readonly { readonly engine: string; readonly state: string }[];
    }
    await until("every engine is ready", async () => {
      const { engines: all } = await holdfast.status<Status>();
      return all.length > 0 && all.every(({ state }) => state === "ready");
    });
    const now = holdfast.ports.engines;
    for (const name of engines) assert.notEqual(now[name], before[name], name);
    assert.equal(now["prometheus.platform"], before["prometheus.platform"], "others stay");
    const { edgeMetrics } = holdfast.ports;
    await until("the edge is read where it says its figures now", async () =>
      (await holdfast.ok("metrics", `up{job="edge"} == 1`)).includes(`:${edgeMetrics}`),
    );
    const doctor = await holdfast.run(["doctor"]);
    assert.doesNotMatch(doctor.stdout, /✗/);
  });

  it("keeps the port of an engine that comes back", async () => {
    const before = holdfast.ports.engines;
    await holdfast.ok("down", "--all");
    await holdfast.ok("up");
    await until("it serves again", async () =>
      ask(holdfast, { host: "moved.localhost", path: "/" }).then(
        ({ status }) => status === 200,
        () => false,
      ),
    );
    assert.deepEqual(holdfast.ports.engines, before);
  });
});

describe("a first start beside a program that was quicker", { timeout: 120_000 }, () => {
  it("takes other ports than those it had chosen", async () => {
    const holdfast = new Installation();
    const squatters: Server[] = [];
    try {
      const chosen: Record<string, number> = {};
      for (const door of ["api", "https", "otlpHttp"]) {
        const server = createServer((socket) => socket.destroy());
        squatters.push(server);
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
        chosen[door] = (server.address() as AddressInfo).port;
      }
      mkdirSync(join(holdfast.home, "state"), { mode: 0o700 });
      writeFileSync(join(holdfast.home, "state", "ports.json"), JSON.stringify(chosen));
      await holdfast.ok("up", "--install");
      for (const [door, port] of Object.entries(chosen))
        assert.notEqual(holdfast.ports[door as "api"], port, door);
    } finally {
      await holdfast.close();
      for (const server of squatters) server.close();
    }
  });
});
