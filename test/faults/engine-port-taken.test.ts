// Ports of engines are chosen once and kept; where somebody else listens there by now, another one is
// taken, since nobody outside knows them.

import assert from "node:assert/strict";
import { createServer, type Server } from "node:net";
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
    for (const name of engines) {
      const server = createServer((socket) => socket.destroy());
      squatters.push(server);
      await new Promise<void>((resolve) => server.listen(before[name], "127.0.0.1", resolve));
    }
    await holdfast.ok("up");
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
      const { engines: all } = await holdfast.json<Status>("status");
      return all.length > 0 && all.every(({ state }) => state === "ready");
    });
    const now = holdfast.ports.engines;
    for (const name of engines) assert.notEqual(now[name], before[name], name);
    assert.equal(now["prometheus.platform"], before["prometheus.platform"], "others stay");
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
