// What every edge driver promises an app, the one in memory included.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Slot } from "../../src/resources/app/app.ts";
import type {
  EdgeDeclaration,
  EdgeDriver,
  EdgeServer,
  EdgeTraffic,
} from "../../src/resources/app/app-driver.ts";
import { defaultHealth, defaultLimits } from "../../src/resources/app/manifest.ts";
import { until } from "../support/wait.ts";

export interface EdgeSuite {
  readonly name: string;
  readonly edge: () => EdgeDriver;
  /** A fresh driver over the same world: a control plane that comes back. */
  readonly reopen: () => EdgeDriver;
  /** Starts something that answers with its name; gives its port. */
  readonly upstream: (name: string) => Promise<number>;
  /** Who answers a request for the host, or undefined. Not every world can be asked. */
  readonly ask?: (host: string, path?: string) => Promise<string | undefined>;
}

const APP = "production/suite";
const HOST = "suite.localhost";
const policy = { health: defaultHealth, limits: defaultLimits };
const declaration: EdgeDeclaration = { services: { web: { a: policy, b: policy } }, hosts: [HOST] };
const traffic = (slot: Slot): EdgeTraffic => ({
  slots: { web: slot },
  releases: { web: 1 },
  routes: [{ host: HOST, path: "/", service: "web" }],
});

export function runEdgeSuite(suite: EdgeSuite): void {
  const { edge, upstream } = suite;
  const server = async (
    slot: Slot,
    index: number,
  ): Promise<Omit<EdgeServer, "state" | "requests">> => {
    const name = `production.suite.web.r${slot === "a" ? 1 : 2}.${index}`;
    return {
      service: "web",
      slot,
      name,
      address: { host: "127.0.0.1", port: await upstream(name) },
    };
  };
  const names = async (): Promise<string[]> =>
    ((await edge().observe(APP))?.servers ?? []).map(({ name }) => name).sort();

  describe(`edge driver: ${suite.name}`, () => {
    it("knows nothing of an app that was never declared", async () => {
      const seen = await edge().observe(APP);
      assert.equal(seen?.declaration, undefined);
      assert.equal(seen?.traffic, undefined);
      assert.deepEqual(seen?.servers, []);
    });

    it("refuses servers and traffic of an app that it does not know", async () => {
      await assert.rejects(edge().shift(APP, traffic("a")), { code: "edge.not_declared" });
      await assert.rejects(edge().join(APP, await server("a", 1)), { code: "edge.not_declared" });
    });

    it("takes a declaration, also the same again", async () => {
      await edge().declare(APP, declaration);
      await edge().declare(APP, declaration);
      assert.deepEqual((await edge().observe(APP))?.declaration, declaration);
    });

    it("puts servers into pools, also when it is asked twice", async () => {
      const one = await server("a", 1);
      await edge().join(APP, one);
      await edge().join(APP, one);
      assert.deepEqual(await names(), [one.name]);
      const [seen] = (await edge().observe(APP))?.servers ?? [];
      assert.equal(seen?.state, "up");
      assert.equal(seen.requests, 0);
      assert.deepEqual(seen.address, one.address);
    });

    it("moves traffic in one go, and back", async () => {
      await edge().shift(APP, traffic("a"));
      assert.deepEqual((await edge().observe(APP))?.traffic, traffic("a"));
      await edge().join(APP, await server("b", 1));
      if (suite.ask) assert.equal(await suite.ask(HOST), "production.suite.web.r1.1");
      await edge().shift(APP, traffic("b"));
      await edge().shift(APP, traffic("b"));
      if (suite.ask) assert.equal(await suite.ask(HOST), "production.suite.web.r2.1");
      await edge().shift(APP, traffic("a"));
      if (suite.ask) assert.equal(await suite.ask(HOST), "production.suite.web.r1.1");
    });

    it("is found as it was by a control plane that comes back", async () => {
      const seen = await suite.reopen().observe(APP);
      assert.deepEqual(seen?.traffic, traffic("a"));
      assert.deepEqual(seen.servers.map(({ name }) => name).sort(), await names());
    });

    it("sends a draining server nothing new, and takes it back when it joins again", async () => {
      const second = await server("a", 2);
      await edge().join(APP, second);
      await edge().drain(APP, second);
      await edge().drain(APP, second);
      assert.equal(
        (await edge().observe(APP))?.servers.find(({ name }) => name === second.name)?.state,
        "draining",
      );
      for (let i = 0; suite.ask && i < 6; i += 1)
        assert.equal(await suite.ask(HOST), "production.suite.web.r1.1");
      await edge().join(APP, second);
      await until(
        "it is back",
        async () =>
          (await edge().observe(APP))?.servers.find(({ name }) => name === second.name)?.state ===
          "up",
      );
    });

    it("lets a server leave, also one that has left", async () => {
      const second = await server("a", 2);
      await edge().leave(APP, second);
      await edge().leave(APP, second);
      assert.ok(!(await names()).includes(second.name));
    });

    it("keeps servers and traffic through a change of the declaration", async () => {
      const before = await names();
      const changed: EdgeDeclaration = {
        ...declaration,
        services: {
          ...declaration.services,
          api: { a: policy, b: { ...policy, limits: { ...defaultLimits, requestsPerSecond: 7 } } },
        },
      };
      await edge().declare(APP, changed);
      assert.deepEqual(await names(), before);
      assert.deepEqual((await edge().observe(APP))?.traffic, traffic("a"));
      if (suite.ask) assert.equal(await suite.ask(HOST), "production.suite.web.r1.1");
    });

    it("forgets an app that withdraws, also twice, and no other", async () => {
      const other = "production/other";
      await edge().declare(other, {
        services: { web: { a: policy, b: policy } },
        hosts: ["other.localhost"],
      });
      await edge().withdraw(APP);
      await edge().withdraw(APP);
      assert.equal((await edge().observe(APP))?.declaration, undefined);
      assert.deepEqual(await names(), []);
      if (suite.ask) assert.equal(await suite.ask(HOST), undefined);
      assert.notEqual((await edge().observe(other))?.declaration, undefined);
    });
  });
}
