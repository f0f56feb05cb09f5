import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { RuntimeApi } from "../../src/drivers/haproxy/runtime-api.ts";
import { defaultHealth, defaultLimits } from "../../src/resources/app/manifest.ts";
import { OwnHaproxy } from "../support/own-haproxy.ts";
import { runEdgeSuite } from "./edge-driver.suite.ts";

let haproxy: OwnHaproxy;

before(async () => {
  haproxy = await OwnHaproxy.start();
});
after(() => haproxy.stop());

runEdgeSuite({
  name: "haproxy",
  edge: () => haproxy.edge,
  reopen: () => haproxy.reopen(),
  upstream: (name) => haproxy.upstream(name),
  ask: async (host, path) => {
    const { status, by } = await haproxy.ask(host, path);
    return status === 200 ? by : undefined;
  },
});

describe("edge driver: haproxy, after a kill between writing and loading", () => {
  const APP = "production/lost";
  const policy = { health: defaultHealth, limits: defaultLimits };
  const declaration = { services: { web: { a: policy, b: policy } }, hosts: ["lost.localhost"] };
  const worker = async (): Promise<string | undefined> =>
    /^Pid: (\d+)$/m.exec(
      await new RuntimeApi(join(haproxy.root, "admin.sock")).ask("show info"),
    )?.[1];

  it("still owes the reload, and does it when it is declared again", async () => {
    await haproxy.edge.declare(APP, declaration);
    assert.equal((await haproxy.edge.observe(APP))?.isLoaded, true);
    // What was written is there, what says that it was loaded is not.
    writeFileSync(join(haproxy.root, "loaded"), "an earlier one");
    const returned = haproxy.reopen();
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
