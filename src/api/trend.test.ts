import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { LEAST_POINTS, msUntil, trendOf } from "./trend.ts";

const line = (count: number, value: (at: number) => number) =>
  Array.from({ length: count }, (_, i) => ({ at: i * 1_000, value: value(i * 1_000) }));

describe("trendOf", () => {
  it("finds the slope of a line exactly, and when it meets a limit", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -1_000, max: 1_000 }),
        fc.integer({ min: 0, max: 1_000 }),
        fc.integer({ min: LEAST_POINTS, max: 400 }),
        (perSecond, start, count) => {
          const trend = trendOf(line(count, (at) => start + (perSecond * at) / 1_000));
          assert.ok(trend && Math.abs(trend.slope * 1_000 - perSecond) < 1e-6);
          const limit = trend.level + 500;
          const ms = msUntil(limit, trend, trend.slope);
          if (perSecond > 0) assert.ok(ms && Math.abs(ms - (500 / perSecond) * 1_000) < 1);
          else assert.equal(ms, undefined);
        },
      ),
    );
  });

  it("does not follow a fifth of outliers", () => {
    const points = line(100, (at) => at / 100).map((point, i) =>
      i % 5 === 0 ? { ...point, value: 1e6 } : point,
    );
    const slope = trendOf(points)?.slope ?? 0;
    assert.ok(Math.abs(slope * 100 - 1) < 0.1, String(slope));
  });

  it("says that noise has no trend, in nine of ten cases or more", () => {
    let state = 1;
    const noise = (): number => {
      state = (state * 48_271) % 2_147_483_647;
      return state / 2_147_483_647;
    };
    const claims = Array.from({ length: 200 }, () => trendOf(line(60, () => 100 + noise()))).filter(
      (trend) => trend && (trend.low > 0 || trend.high < 0),
    );
    assert.ok(claims.length <= 30, `${claims.length} of 200`);
  });

  it("says nothing of a few points, and zero of what is full", () => {
    assert.equal(trendOf(line(LEAST_POINTS - 1, (at) => at)), undefined);
    const full = trendOf(line(20, () => 10));
    assert.ok(full);
    assert.equal(msUntil(10, full, full.slope), 0);
  });
});
