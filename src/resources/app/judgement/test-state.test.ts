import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SeededRandom } from "../../../../test/support/virtual-clock.ts";
import { designEffect, isCertain, type TestState, withNulls } from "./test-state.ts";

/** Evidence by seconds, as what each second adds. */
function collected(gains: readonly number[]): TestState {
  let state: TestState | undefined;
  let log = 0;
  for (const [second, gain] of gains.entries()) {
    log += gain;
    state = withNulls(state, [[log]], second * 1_000);
  }
  return state ?? assert.fail();
}

describe("what a test has found", () => {
  it("is certain once it is strong enough, and not for one burst", () => {
    const steady = collected(Array<number>(20).fill(0.5));
    assert.equal(isCertain(steady, 0.001), true);
    assert.equal(isCertain(steady, 0.00001), false);
    for (const at of [0, 3, 5, 7, 11]) {
      const burst = Array<number>(30).fill(0);
      for (const second of [at, at + 1, at + 2, at + 3]) burst[second] = 50;
      assert.equal(isCertain(collected(burst), 0.001), false, `a burst from second ${at} on`);
      for (const second of [at + 14, at + 15]) burst[second] = 5;
      assert.equal(isCertain(collected(burst), 0.001), true, "a second one");
    }
  });

  it("has to refute all of its null hypotheses", () => {
    const state = (logs: number[][]): TestState => ({ nulls: logs });
    assert.equal(isCertain(state([[20], [20]]), 0.001), true);
    assert.equal(isCertain(state([[20], [1]]), 0.001), false);
  });

  it("counts for less by the design effect", () => {
    const state: TestState = { nulls: [[20]] };
    assert.equal(isCertain(state, 0.001, 2), true);
    assert.equal(isCertain(state, 0.001, 3), false);
    assert.equal(isCertain(state, 0.001, 0.1), true, "less than 1 is 1");
  });
});

describe("the design effect", () => {
  const sumsOf = (clusters: readonly (readonly [total: number, bad: number])[]) => {
    const sum = (of: (total: number, bad: number) => number): number =>
      clusters.reduce((all, [total, bad]) => all + of(total, bad), 0);
    return {
      clusters: clusters.length,
      total: sum((total) => total),
      bad: sum((_, bad) => bad),
      totalSquared: sum((total) => total * total),
      badTotal: sum((total, bad) => total * bad),
      badSquared: sum((_, bad) => bad * bad),
    };
  };

  it("is about 1 where outcomes are independent, whatever the sizes of clusters", () => {
    const random = new SeededRandom(5);
    const clusters = Array.from({ length: 400 }, (_, i) => {
      const total = 1 + (i % 40);
      let bad = 0;
      for (let j = 0; j < total; j += 1) if (random.fraction() < 0.1) bad += 1;
      return [total, bad] as const;
    });
    const effect = designEffect(sumsOf(clusters));
    assert.ok(effect < 1.3, String(effect));
  });

  it("is the size of a cluster where its outcomes are all the same", () => {
    const clusters = Array.from({ length: 500 }, (_, i) => [10, i % 10 === 0 ? 10 : 0] as const);
    assert.ok(Math.abs(designEffect(sumsOf(clusters)) - 10) < 0.1);
  });

  it("is 1 where nothing is known: few clusters, nothing bad, all bad", () => {
    assert.equal(designEffect(sumsOf(Array.from({ length: 9 }, () => [10, 10] as const))), 1);
    assert.equal(designEffect(sumsOf(Array.from({ length: 50 }, () => [10, 0] as const))), 1);
    assert.equal(designEffect(sumsOf(Array.from({ length: 50 }, () => [10, 10] as const))), 1);
  });
});
