// What is said of an alert's cause, and what is not.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { AnyKind } from "../kernel/kind.ts";
import type { ObjectiveCounts, ObjectiveQuestion } from "../kernel/objective-counts.ts";
import { APP } from "../resources/app/app.ts";
import { CACHE } from "../resources/engine/engine.ts";
import { RELEASE } from "../resources/release/release.ts";
import { contextOf } from "./alert-context.ts";
import type { OperationDeps } from "./operation-deps.ts";

const MINUTE = 60_000;
const NOW = 100 * MINUTE;
const rollout = (release: number, minute: number, outcome: string) => ({
  placement: { set: { release } },
  outcome,
  startedAt: (minute - 1) * MINUTE,
  endedAt: minute * MINUTE,
});

interface World {
  readonly history: readonly object[];
  readonly serving?: { readonly release: number; readonly since: number };
  readonly counts?: readonly ObjectiveCounts[];
  readonly cache?: string;
}

function depsOf({ history, serving, counts = [], cache = "ready" }: World): OperationDeps {
  const status = {
    history,
    ...(serving && { serving: { set: { release: serving.release }, since: serving.since } }),
  };
  const kinds: Readonly<Record<string, object>> = {
    [APP.name]: { name: "production/shop", status },
    [RELEASE.name]: { spec: { manifest: { stores: { redis: {} } } } },
    [CACHE.name]: { status: { state: cache } },
  };
  return {
    clock: { now: () => NOW, after: () => () => undefined },
    store: { find: ({ name }: AnyKind) => kinds[name] },
    objectives: () => [],
    telemetry: {
      ask: async (_: string, { byRoute }: ObjectiveQuestion) => (byRoute ? counts : merged(counts)),
    },
  } as unknown as OperationDeps;
}

const merged = (counts: readonly ObjectiveCounts[]): ObjectiveCounts[] =>
  [...new Set(counts.map(({ release }) => release))].map((release) => {
    const own = counts.filter((one) => one.release === release);
    const sum = (of: "bad" | "total"): number => own.reduce((all, one) => all + one[of], 0);
    return { release, bad: sum("bad"), total: sum("total") };
  });

const BURN = {
  alertname: "ErrorBudgetBurn",
  environment: "production",
  app: "shop",
  service: "web",
  objective: "availability",
};
const count = (release: number, bad: number, total: number, route = "GET /"): ObjectiveCounts => ({
  release,
  bad,
  total,
  route,
});

describe("an alert's cause", () => {
  const good = rollout(3, 20, "succeeded");
  const back = rollout(3, 90, "succeeded");

  it("is the release whose requests fail, not the one that was rolled back to", async () => {
    const bad = rollout(4, 85, "rolled-back");
    const deps = depsOf({
      history: [back, bad, good],
      serving: { release: 3, since: 90 * MINUTE },
      counts: [count(4, 300, 900), count(3, 1, 2_000)],
    });
    // It began while the bad one served, and shows when that is over.
    assert.deepEqual(await contextOf(deps, BURN, 86 * MINUTE), {
      route: "GET /: 301 of 2900 failed",
      release: 4,
      afterDeployMs: MINUTE,
    });
    assert.equal((await contextOf(deps, BURN, 91 * MINUTE)).release, 4);
    const crash = { ...BURN, alertname: "JobFailed" };
    assert.equal((await contextOf(deps, crash, 86 * MINUTE)).release, 4, "it served then");
    assert.equal((await contextOf(deps, crash, 91 * MINUTE)).release, 3);
  });

  it("is no release where none is known, or where it has no number", async () => {
    const nothing = depsOf({ history: [] });
    assert.deepEqual(await contextOf(nothing, BURN, 86 * MINUTE), {});
    const zero = { ...BURN, alertname: "HighErrorRate", release: "0" };
    assert.deepEqual(await contextOf(nothing, zero, 86 * MINUTE), {});
    const later = depsOf({ history: [], serving: { release: 3, since: 95 * MINUTE } });
    assert.deepEqual(await contextOf(later, BURN, 86 * MINUTE), {});
  });

  it("is not a deploy of hours ago, nor one beside which others fail alike", async () => {
    const old = depsOf({ history: [good], counts: [count(3, 300, 900)] });
    assert.deepEqual(await contextOf(old, BURN, 86 * MINUTE), {
      route: "GET /: 300 of 900 failed",
      release: 3,
    });
    const alike = depsOf({
      history: [rollout(4, 85, "succeeded"), good],
      counts: [count(4, 300, 900), count(3, 280, 1_000)],
    });
    assert.equal((await contextOf(alike, BURN, 86 * MINUTE)).release, undefined);
    // Fewer requests, and far worse.
    const canary = depsOf({
      history: [rollout(4, 85, "succeeded"), good],
      counts: [count(4, 50, 100), count(3, 90, 9_000)],
    });
    assert.equal((await contextOf(canary, BURN, 86 * MINUTE)).release, 4);
  });

  it("is the store that is away, and not the release that needs it", async () => {
    const deps = depsOf({
      history: [rollout(4, 85, "succeeded"), good],
      counts: [count(4, 300, 900)],
      cache: "silent",
    });
    const labels = { ...BURN, alertname: "HighErrorRate", release: "4" };
    assert.deepEqual(await contextOf(deps, labels, 86 * MINUTE), {
      route: "GET /: 300 of 900 failed",
      broken: "the cache of production is silent",
    });
  });

  it("names the route that stands out, and none where all fail", async () => {
    const one = depsOf({
      history: [good],
      counts: [count(3, 37, 40, "POST /checkout"), count(3, 2, 9_000, "GET /")],
    });
    assert.equal(
      (await contextOf(one, BURN, 86 * MINUTE)).route,
      "POST /checkout: 37 of 40 failed",
    );
    const slow = { ...BURN, alertname: "SlowResponses" };
    assert.match((await contextOf(one, slow, 86 * MINUTE)).route ?? "", /37 of 40 slow/);
    const all = depsOf({
      history: [good],
      counts: ["a", "b", "c"].map((route) => count(3, 30, 100, route)),
    });
    assert.equal((await contextOf(all, BURN, 86 * MINUTE)).route, undefined);
  });

  it("is told without routes where telemetry is away", async () => {
    const deps = depsOf({ history: [good] });
    const away = {
      ...deps,
      telemetry: { ask: () => Promise.reject(new Error("away")) },
    } as unknown as OperationDeps;
    assert.deepEqual(await contextOf(away, BURN, 86 * MINUTE), {});
    assert.deepEqual(await contextOf(away, { ...BURN, release: "3" }, 86 * MINUTE), { release: 3 });
  });
});
