// Requests split between what serves and a candidate, on a real HAProxy: exact shares, clients that
// stay where they were, testers, and calls between services that follow.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { CandidateTraffic, EdgeTraffic } from "../../src/resources/app/app-driver.ts";
import { defaultHealth, defaultLimits } from "../../src/resources/app/manifest.ts";
import { OwnHaproxy, type Reply } from "../support/own-haproxy.ts";

const APP = "production/split";
const HOST = "split.localhost";
const STABLE = "production.split.web.r1.1";
const CANDIDATE = "production.split.web.r2.1";
const REQUESTS = 4_000;
const policy = { health: defaultHealth, limits: { ...defaultLimits, requestsPerSecond: 100_000 } };
const routes = [
  { host: HOST, path: "/", service: "web" },
  { host: HOST, path: "/api", service: "api" },
];

describe("traffic split by HAProxy", { timeout: 240_000 }, () => {
  let haproxy: OwnHaproxy;

  const split = (candidate: Partial<CandidateTraffic> = {}): EdgeTraffic => ({
    slots: { web: "a", api: "a" },
    releases: { web: 1, api: 1 },
    routes,
    candidate: {
      slot: "b",
      services: ["web", "api"],
      release: 2,
      perMille: 0,
      key: "key-of-testers",
      rollout: 7,
      isSticky: false,
      preview: [],
      ...candidate,
    },
  });
  const isCandidate = ({ by }: Reply): boolean => by.includes(".r2.");
  const share = async (count: number, ask: () => Promise<Reply>): Promise<number> => {
    let hits = 0;
    for (let sent = 0; sent < count; sent += 16) {
      const replies = await Promise.all(Array.from({ length: 16 }, ask));
      for (const reply of replies) {
        assert.equal(reply.status, 200);
        hits += Number(isCandidate(reply));
      }
    }
    return hits / count;
  };
  /** Five standard deviations of a binomial share: once in a million runs. */
  const isNear = (got: number, wanted: number, count: number): void => {
    const room = 5 * Math.sqrt((wanted * (1 - wanted)) / count);
    assert.ok(Math.abs(got - wanted) <= room, `${got} instead of ${wanted} ± ${room}`);
  };
  const cookieOf = ({ headers }: Reply): string => String(headers["set-cookie"]?.[0] ?? "");

  before(async () => {
    haproxy = await OwnHaproxy.start();
    const { edge } = haproxy;
    const pools = { a: policy, b: policy };
    const guarded = { a: policy, b: { ...policy, testers: ["127.0.0.9/32"] } };
    await edge.declare(APP, { services: { web: guarded, api: pools }, hosts: [HOST] });
    for (const [slot, release, count] of [
      ["a", 1, 3],
      ["b", 2, 1],
    ] as const)
      for (const service of ["web", "api"])
        for (let index = 1; index <= count; index += 1) {
          const name = `production.split.${service}.r${release}.${index}`;
          const address = { host: "127.0.0.1", port: await haproxy.upstream(name) };
          await edge.join(APP, { service, slot, name, address });
        }
  });
  after(() => haproxy.stop());

  it("gives the candidate nothing at a share of 0, and says nothing of arms without a candidate", async () => {
    await haproxy.edge.shift(APP, { slots: { web: "a", api: "a" }, releases: {}, routes });
    assert.equal((await haproxy.ask(HOST)).sent["baggage"], undefined);
    await haproxy.edge.shift(APP, split());
    assert.equal(await share(320, () => haproxy.ask(HOST)), 0);
  });

  for (const perMille of [10, 100, 333, 500]) {
    it(`gives the candidate ${perMille} of 1,000 requests, whatever the number of instances`, async () => {
      await haproxy.edge.shift(APP, split({ perMille }));
      isNear(await share(REQUESTS, () => haproxy.ask(HOST)), perMille / 1000, REQUESTS);
    });
  }

  it("gives the candidate everything at 1,000", async () => {
    await haproxy.edge.shift(APP, split({ perMille: 1_000 }));
    assert.equal(await share(320, () => haproxy.ask(HOST)), 1);
  });

  it("lets a tester who knows the key choose the candidate, and nobody else", async () => {
    await haproxy.edge.shift(APP, split());
    const chosen = await haproxy.ask(HOST, "/", { "x-holdfast-candidate": "key-of-testers" });
    assert.equal(chosen.by, CANDIDATE);
    assert.match(String(chosen.sent["baggage"]), /holdfast-arm=tester/);
    for (const guess of ["", "-", "candidate", "key-of-testers2", "1"])
      assert.ok(
        !isCandidate(await haproxy.ask(HOST, "/", { "x-holdfast-candidate": guess })),
        guess,
      );
  });

  it("keeps a client where its first request went, and moves it only with a growing share", async () => {
    await haproxy.edge.shift(APP, split({ perMille: 500, isSticky: true }));
    const first = await haproxy.ask(HOST);
    const cookie = cookieOf(first);
    assert.match(cookie, /^holdfast-bucket=\d{1,3}\.7; Path=\/; Max-Age=\d+; Secure; HttpOnly/);
    const pair = cookie.split(";")[0] ?? "";
    for (let i = 0; i < 40; i += 1) {
      const again = await haproxy.ask(HOST, i % 2 ? "/" : "/api/x", { cookie: `a=b; ${pair}` });
      assert.equal(isCandidate(again), isCandidate(first));
      assert.equal(cookieOf(again), "");
    }
    const at = async (bucket: number, perMille: number): Promise<boolean> => {
      await haproxy.edge.shift(APP, split({ perMille, isSticky: true }));
      return isCandidate(await haproxy.ask(HOST, "/", { cookie: `holdfast-bucket=${bucket}.7` }));
    };
    assert.equal(await at(99, 100), true);
    assert.equal(await at(100, 100), false);
    assert.equal(await at(100, 101), true);
    assert.equal(await at(999, 999), false);
  });

  it("draws again for a cookie of another rollout, and for one that was made up", async () => {
    await haproxy.edge.shift(APP, split({ perMille: 500, isSticky: true }));
    for (const made of ["1.6", "x.7", "1", "", "1.7.7", "99999.7"]) {
      const reply = await haproxy.ask(HOST, "/", { cookie: `holdfast-bucket=${made}` });
      assert.equal(reply.status, 200);
      if (!made.endsWith(".7") || made === "1.6") assert.match(cookieOf(reply), /\.7;/, made);
    }
    const shareOfForged = await share(REQUESTS, () =>
      haproxy.ask(HOST, "/", { cookie: "holdfast-bucket=x.7" }),
    );
    isNear(shareOfForged, 0.5, REQUESTS);
  });

  it("carries the decision on between services, and takes none from outside", async () => {
    await haproxy.edge.shift(APP, split({ perMille: 500 }));
    const port = haproxy.edge.internalPorts(APP)["api"];
    const inside = (baggage?: string): Promise<Reply> =>
      haproxy.ask("api", "/", baggage === undefined ? {} : { baggage }, port);
    for (let i = 0; i < 40; i += 1) {
      const outer = await haproxy.ask(HOST, "/", { baggage: "user=1" });
      const baggage = String(outer.sent["baggage"]);
      assert.match(baggage, /user=1/);
      const inner = await inside(baggage);
      assert.equal(isCandidate(inner), isCandidate(outer));
    }
    const forged = { baggage: "holdfast-arm=candidate" };
    isNear(await share(REQUESTS, () => haproxy.ask(HOST, "/", forged)), 0.5, REQUESTS);
    // A call that comes from no request, of a worker say, gets an arm of its own, which goes on.
    isNear(await share(REQUESTS, () => inside()), 0.5, REQUESTS);
    assert.match(String((await inside()).sent["baggage"]), /holdfast-arm=(stable|candidate)/);
  });

  it("shows the candidate alone at its preview address", async () => {
    const preview = [{ host: `preview.${HOST}`, path: "/", service: "web" }];
    await haproxy.edge.shift(APP, split({ preview }));
    assert.equal((await haproxy.ask(`preview.${HOST}`)).by, CANDIDATE);
    assert.equal((await haproxy.ask(HOST)).by.replace(/\d$/, ""), STABLE.replace(/\d$/, ""));
    await haproxy.edge.shift(APP, { slots: { web: "a", api: "a" }, releases: {}, routes });
    assert.equal((await haproxy.ask(`preview.${HOST}`)).status, 404);
  });

  it("does as it did once HAProxy was started again", async () => {
    await haproxy.edge.shift(APP, split({ perMille: 500 }));
    await haproxy.restart();
    isNear(await share(REQUESTS, () => haproxy.ask(HOST)), 0.5, REQUESTS);
  });
});
