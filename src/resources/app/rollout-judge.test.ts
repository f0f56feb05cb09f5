import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ArmCounts } from "../../kernel/signal.ts";
import type { Release } from "../release/release.ts";
import { type App, type AppStatusFields, EMPTY_STATUS, type Rollout } from "./app.ts";
import type { AppObserved } from "./app-observed.ts";
import { beginJudgement, foldBlock, withArms } from "./judgement/judgement.ts";
import { manifestSchema } from "./manifest.ts";
import { judgeStage } from "./rollout-judge.ts";

const NOW = 1_800_000_000_000;
const MANIFEST = manifestSchema.parse({
  name: "shop",
  services: { web: { command: "w" } },
  rollout: { strategy: "canary", steps: [{ share: "10%", for: "30s" }, "50%"] },
});
const APP = { name: "production/shop", spec: {}, uid: "u" } as unknown as App;
const SERVING = { set: { release: 1, restarts: 0 }, slot: "a", counts: { web: 1 } } as const;
const STATUS: AppStatusFields = { ...EMPTY_STATUS, serving: { ...SERVING, since: 0 } };

const rollout = (more: Partial<Rollout> = {}): Rollout => ({
  generation: 3,
  reason: "deploy",
  placement: { set: { release: 2, restarts: 0 }, slot: "b", counts: { web: 1 } },
  phase: "stepping",
  phaseSince: NOW - 60_000,
  startedAt: NOW - 60_000,
  timeline: [],
  strategy: "canary",
  stages: [
    { perMille: 100, forMs: 30_000, candidate: { web: 1 }, serving: { web: 1 } },
    { perMille: 500, forMs: 30_000, candidate: { web: 1 }, serving: { web: 1 } },
  ],
  results: [],
  from: 1,
  stage: 0,
  perMille: 100,
  stageSince: NOW - 10_000,
  exposedAt: NOW - 10_000,
  ...more,
});

const observed = (more: Partial<AppObserved> = {}): AppObserved => ({
  now: NOW,
  releases: new Map([[2, { spec: { manifest: MANIFEST } } as unknown as Release]]),
  instances: [],
  probes: new Map(),
  tails: new Map(),
  edge: undefined,
  stores: { ready: true, startedAt: 0 },
  smoke: new Map(),
  usage: new Map(),
  hasData: false,
  schedule: new Map(),
  ...more,
});

const judged = (own: Partial<Rollout>, look: Partial<AppObserved> = {}): Rollout => {
  const progress = judgeStage(APP, STATUS, rollout(own), true, observed(look));
  assert.ok("rollout" in progress && progress.rollout);
  return progress.rollout;
};

describe("a stage", () => {
  it("holds while its time is not over", () => {
    const next = judged({});
    assert.equal(next.stage, 0);
    assert.equal(next.results.length, 0);
  });

  it("gets as much time again where nothing was seen, then goes on", () => {
    const extended = judged({ stageSince: NOW - 31_000 });
    assert.equal(extended.inconclusive, "extended");
    assert.equal(extended.stage, 0);
    const next = judged({ stageSince: NOW - 61_000, inconclusive: "extended" });
    assert.equal(next.stage, 1);
    assert.equal(next.stageSince, undefined, "the next one has not begun before the edge gives it");
    assert.equal(next.results[0]?.verdict, "inconclusive");
  });

  it("stays where somebody paused it, and goes to everything where somebody says so", () => {
    const wish = (what: "pause" | "promote") => ({ generation: 3, wish: what, by: "ana" }) as const;
    assert.equal(judged({ stageSince: NOW - 99_000 }, { wish: wish("pause") }).stage, 0);
    const progress = judgeStage(APP, STATUS, rollout(), true, observed({ wish: wish("promote") }));
    assert.equal("phase" in progress && progress.phase, "completing");
    const other = { ...wish("promote"), generation: 2 };
    assert.equal(judged({}, { wish: other }).stage, 0, "a wish of another rollout is not heard");
  });

  it("begins again where the clock went back", () => {
    const next = judged({ stageSince: NOW + 3_600_000 });
    assert.equal(next.stageSince, NOW);
    assert.match(next.timeline.at(-1)?.text ?? "", /the clock went back/);
  });

  it("is aborted where it was never decided", () => {
    const progress = judgeStage(
      APP,
      STATUS,
      rollout({ startedAt: NOW - 2 * 86_400_000 }),
      true,
      observed(),
    );
    assert.ok("failure" in progress);
    assert.match(progress.failure.reason, /not decided within 1440 min/);
  });

  const arm = (release: number, requests: number, more: Partial<ArmCounts> = {}): ArmCounts => ({
    ...{ service: "web", release, requests, errors: 0, logErrors: 0, timed: requests, over: [] },
    quantiles: Array<number>(201).fill(10),
    ...more,
  });
  /** What both had in this stage, whose time is over twice. */
  const afterAll = (serving: ArmCounts[], candidate: ArmCounts[]): Rollout => {
    const { analysis } = MANIFEST.rollout ?? assert.fail();
    const begun = beginJudgement(NOW - 61_000, { arms: [arm(1, 600)] });
    const folded = foldBlock(begun, { serving, candidate }, NOW - 1_000, analysis);
    const judgement = withArms(folded, { serving, candidate });
    return judged({ stageSince: NOW - 61_000, inconclusive: "extended", judgement });
  };

  it("asks where what little was seen is bad, also where it is to go on by itself", () => {
    const bad = arm(2, 3, { errors: 3, timed: 0, quantiles: [] });
    const asked = afterAll([arm(1, 40)], [bad]);
    assert.equal(asked.inconclusive, "asked");
    assert.equal(asked.stage, 0);
    assert.match(asked.timeline.at(-1)?.text ?? "", /may be worse: web: 100.0 % of 3 requests/);
    const few = afterAll([arm(1, 40)], [arm(2, 3)]);
    assert.equal(few.stage, 1, "too few alone are no reason");
    assert.match(few.results[0]?.reason ?? "", /3 requests to web of release 2; fewer than 50/);
  });

  it("passes no service that had too few requests beside one that had enough", () => {
    const api = { service: "api" };
    const serving = [arm(1, 900), arm(1, 90, api)];
    const passed = afterAll(serving, [arm(2, 100), arm(2, 60, api)]);
    assert.equal(passed.results[0]?.verdict, "pass");
    const short = afterAll(serving, [arm(2, 100), arm(2, 4, api)]);
    assert.equal(short.results[0]?.verdict, "inconclusive");
    assert.match(short.results[0]?.reason ?? "", /4 requests to api/);
    const missing = afterAll(serving, [arm(2, 100)]);
    assert.match(missing.results[0]?.reason ?? "", /0 requests to api/);
  });

  it("passes nothing of which no answer was timed", () => {
    const cold = arm(2, 100, { timed: 0, quantiles: [] });
    const { results } = afterAll([arm(1, 900)], [cold]);
    assert.equal(results[0]?.verdict, "inconclusive");
    assert.match(results[0]?.reason ?? "", /no answer of web of release 2 was timed/);
  });
});
