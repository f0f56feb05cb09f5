import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SeededRandom } from "../../../../test/support/virtual-clock.ts";
import type { ArmCounts } from "../../../kernel/signal.ts";
import { isFalling, type Trend, withTrend } from "./trend.ts";

const ANSWERS = 20;

/** Answers of a second, each `times` as long as usual; they vary as those of a web application do. */
function armOf(random: SeededRandom, times: number): ArmCounts {
  const logs = Array.from({ length: ANSWERS }, () => {
    const spread = Array.from({ length: 12 }, () => random.fraction()).reduce((a, b) => a + b) - 6;
    return Math.log(60 * times) + 0.5 * spread;
  });
  return {
    ...{ service: "web", release: 1, requests: ANSWERS, errors: 0, logErrors: 0, timed: ANSWERS },
    ...{ over: [], quantiles: [] },
    logMs: {
      count: ANSWERS,
      sum: logs.reduce((a, b) => a + b),
      squares: logs.reduce((a, b) => a + b * b, 0),
    },
  };
}

/** In how many of 100 stories answers are said to become quicker after so many seconds. */
function falling(seconds: number, timesAt: (second: number) => number, both = false): number {
  const random = new SeededRandom(3);
  let count = 0;
  for (let story = 0; story < 100; story += 1) {
    let trend: Trend | undefined;
    for (let second = 1; second <= seconds; second += 1) {
      const serving = armOf(random, both ? timesAt(second) : 1);
      const candidate = armOf(random, timesAt(second));
      trend = withTrend(trend, { serving, candidate }, second * 1_000);
    }
    if (isFalling(trend)) count += 1;
  }
  return count;
}

describe("answers that become quicker", () => {
  it("are told from such that stay slow", () => {
    assert.ok(falling(45, (second) => 1 + 2 * 0.5 ** (second / 30)) >= 95);
    assert.ok(falling(45, () => 3) <= 5);
    assert.ok(falling(45, (second) => 1 + second / 20) <= 2, "slower and slower");
  });

  it("are no longer said to be once they have been as quick for a minute", () => {
    assert.ok(falling(100, (second) => (second < 30 ? 3 : 2)) <= 5);
  });

  it("are not those of a candidate that follows what serves", () => {
    assert.ok(falling(45, (second) => 3 - second / 20, true) <= 5);
  });

  it("can't be told after one slice of time", () => {
    assert.equal(
      falling(8, (second) => 10 / second),
      0,
    );
  });
});
