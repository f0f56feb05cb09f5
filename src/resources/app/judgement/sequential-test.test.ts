// What the tests and intervals promise, tried out: thousands of seeded stories, looked at after every
// block. The shares of wrong answers hold for all looks of a story together.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SeededRandom } from "../../../../test/support/virtual-clock.ts";
import { proportionInterval, quantileLevels } from "./interval.ts";
import {
  compareBlock,
  type Evidence,
  exceedBlock,
  letPass,
  logEvidence,
  type Margin,
  NO_MARGIN,
  noEvidence,
  refutes,
  type Tally,
} from "./sequential-test.ts";

const EFFECTS = [0.01, 0.03, 0.1, 0.3, 0.9];
const STORIES = 1_500;
const BLOCKS = 90;

function draw(random: SeededRandom, total: number, p: number): Tally {
  let bad = 0;
  for (let i = 0; i < total; i += 1) if (random.fraction() < p) bad += 1;
  return { total, bad };
}

interface Story {
  readonly serving: number;
  readonly candidate: number;
  readonly perBlock: readonly [number, number];
}

/** The block at which the candidate was refuted, or undefined. */
function play(
  random: SeededRandom,
  story: Story,
  alpha: number,
  margin: Margin = NO_MARGIN,
): number | undefined {
  let evidence: Evidence = noEvidence(EFFECTS.length);
  let seen: Tally = { total: 0, bad: 0 };
  const [a, b] = story.perBlock;
  for (let block = 1; block <= BLOCKS; block += 1) {
    const serving = draw(random, a, story.serving);
    const candidate = draw(random, b, story.candidate);
    const rate = (seen.bad + 0.5) / (seen.total + 1);
    const from = letPass(rate, margin);
    const alternatives = EFFECTS.map((effect) => from + effect * (1 - from));
    evidence = compareBlock(evidence, { serving, candidate }, rate, alternatives, margin);
    seen = { total: seen.total + a, bad: seen.bad + serving.bad };
    if (refutes(evidence, alpha)) return block;
  }
  return undefined;
}

describe("the sequential test", () => {
  for (const [p, perBlock] of [
    [0.001, [90, 10]],
    [0.02, [90, 10]],
    [0.2, [10, 10]],
    [0.5, [3, 1]],
  ] as const) {
    it(`blames an equal candidate at most as often as it may: ${p * 100} % bad, ${perBlock.join(" to ")}`, () => {
      const random = new SeededRandom(7);
      const alpha = 0.05;
      let wrong = 0;
      for (let i = 0; i < STORIES; i += 1)
        if (play(random, { serving: p, candidate: p, perBlock }, alpha) !== undefined) wrong += 1;
      assert.ok(wrong / STORIES <= alpha, `${wrong} of ${STORIES}`);
    });
  }

  for (const [what, serving, candidate, margin] of [
    ["two points more of which two are let pass", 0.01, 0.03, { plus: 0.02 }],
    ["one point more of which two are", 0.2, 0.21, { plus: 0.02 }],
    ["half as many again, which are", 0.1, 0.15, { times: 1.5 }],
    ["as many where half as many again are", 0.02, 0.02, { times: 1.5 }],
  ] as const)
    it(`blames a candidate within its margin at most as often as it may: ${what}`, () => {
      for (const perBlock of [
        [90, 10],
        [5, 20],
        [1, 1],
      ] as const) {
        const random = new SeededRandom(17);
        let wrong = 0;
        for (let i = 0; i < STORIES; i += 1)
          if (play(random, { serving, candidate, perBlock }, 0.05, margin) !== undefined)
            wrong += 1;
        assert.ok(wrong / STORIES <= 0.05, `${wrong} of ${STORIES} at ${perBlock.join(" to ")}`);
      }
    });

  it("still finds what is beyond the margin", () => {
    const random = new SeededRandom(19);
    const story = { serving: 0.001, candidate: 0.05, perBlock: [90, 10] as const };
    const found = Array.from(
      { length: 200 },
      () => play(random, story, 0.001, { plus: 0.005 }) ?? Infinity,
    ).sort((one, other) => one - other);
    assert.ok((found[100] ?? Infinity) <= 14, `median ${found[100]}`);
    assert.ok((found[190] ?? Infinity) <= 40, `19 of 20 within ${found[190]}`);
  });

  it("never blames a better candidate more often than an equal one may be", () => {
    const random = new SeededRandom(11);
    let wrong = 0;
    for (let i = 0; i < STORIES; i += 1)
      if (play(random, { serving: 0.1, candidate: 0.05, perBlock: [50, 50] }, 0.05)) wrong += 1;
    assert.ok(wrong / STORIES <= 0.05, `${wrong} of ${STORIES}`);
  });

  it("finds 5 % errors at a tenth of 100 requests per second within fifteen seconds mostly", () => {
    const random = new SeededRandom(13);
    const story = { serving: 0.0005, candidate: 0.05, perBlock: [90, 10] as const };
    const found = Array.from({ length: 400 }, () => play(random, story, 0.001) ?? Infinity).sort(
      (one, other) => one - other,
    );
    assert.ok((found[200] ?? Infinity) <= 15, `median ${found[200]} s`);
    assert.ok((found[396] ?? Infinity) < BLOCKS, `99 % within ${found[396]} s`);
  });

  it("says nothing without requests to one of the two", () => {
    const before = [1, 2];
    const block = { serving: { total: 0, bad: 0 }, candidate: { total: 9, bad: 9 } };
    assert.deepEqual(compareBlock(before, block, 0.1, [0.2, 0.3]), before);
  });

  it("can come back from long good times: evidence has a floor", () => {
    let evidence = noEvidence(1);
    for (let i = 0; i < 10_000; i += 1)
      evidence = exceedBlock(evidence, { total: 1_000, bad: 0 }, 0.05, [0.5]);
    assert.ok(Number.isFinite(logEvidence(evidence)));
  });

  it("refutes a limit that is exceeded, and not one that is just met", () => {
    const random = new SeededRandom(17);
    let wrong = 0;
    for (let i = 0; i < STORIES; i += 1) {
      let evidence = noEvidence(2);
      let isRefuted = false;
      for (let block = 0; block < BLOCKS && !isRefuted; block += 1) {
        evidence = exceedBlock(evidence, draw(random, 20, 0.0144), 0.0144, [0.03, 0.1]);
        isRefuted = refutes(evidence, 0.05);
      }
      if (isRefuted) wrong += 1;
    }
    assert.ok(wrong / STORIES <= 0.05, `${wrong} of ${STORIES}`);
    let evidence = noEvidence(2);
    for (let block = 0; block < 10; block += 1)
      evidence = exceedBlock(evidence, { total: 100, bad: 6 }, 0.0144, [0.03, 0.1]);
    assert.ok(refutes(evidence, 0.001));
  });
});

describe("intervals that hold at every look", () => {
  it("hold the truth at all looks together as often as they say", () => {
    const random = new SeededRandom(19);
    for (const p of [0.01, 0.3]) {
      let lost = 0;
      for (let i = 0; i < 400; i += 1) {
        let bad = 0;
        for (let total = 1; total <= 600; total += 1) {
          if (random.fraction() < p) bad += 1;
          if (total % 20 > 0) continue;
          const { low, high } = proportionInterval(bad, total);
          if (p < low || p > high) {
            lost += 1;
            break;
          }
        }
      }
      assert.ok(lost / 400 <= 0.05, `${p}: lost in ${lost} of 400`);
    }
  });

  it("narrow with what is seen, and hold what was seen", () => {
    const few = proportionInterval(1, 20);
    const many = proportionInterval(100, 2_000);
    assert.ok(few.low < 0.05 && few.high > 0.05);
    assert.ok(many.high - many.low < (few.high - few.low) / 4);
    assert.deepEqual(proportionInterval(0, 0), { low: 0, high: 1 });
    assert.equal(proportionInterval(0, 50).low, 0);
    assert.equal(proportionInterval(50, 50).high, 1);
  });

  it("give quantiles levels around their own", () => {
    const { low, high } = quantileLevels(0.95, 1_000);
    assert.ok(low > 0.9 && low < 0.95 && high > 0.95 && high < 0.99, `${low} to ${high}`);
    assert.equal(quantileLevels(0.99, 20).high, 1);
  });
});
