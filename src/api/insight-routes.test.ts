import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { forecastOf } from "./insight-routes.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const BEGAN = Date.parse("2026-10-19T00:00:00Z");
/** By the hour; 0 is a Monday's first. */
const hours = (count: number, value: (hour: number) => number) =>
  Array.from({ length: count }, (_, hour) => ({
    at: BEGAN + hour * HOUR_MS,
    value: value(hour),
  }));
/** Days and nights, and weekends of half as much. */
const rhythm = (hour: number): number => {
  const weekend = Math.floor(hour / 24) % 7 >= 5 ? 0.5 : 1;
  return 300 * weekend * (1.2 + Math.sin((hour / 24) * 2 * Math.PI));
};
const ALL = ["none", "days", "weeks"] as const;

describe("forecastOf", () => {
  it("says when what grows meets its limit, and between when", () => {
    const points = hours(168, (hour) => 500 + (hour * 10) / 24);
    const { trend, perDay, runsOutAt, earliestAt, latestAt } = forecastOf(points, 1_000, "none");
    assert.equal(trend, "growing");
    assert.ok(Math.abs((perDay ?? 0) - 10) < 0.01, String(perDay));
    const days = ((runsOutAt ?? 0) - BEGAN) / DAY_MS;
    assert.ok(Math.abs(days - 50) < 1, String(days));
    assert.ok((earliestAt ?? 0) <= (runsOutAt ?? 0) && (runsOutAt ?? 0) <= (latestAt ?? 0));
  });

  it("finds growth under days and weekends", () => {
    for (const slope of [1, 5]) {
      const points = hours(24 * 28, (hour) => rhythm(hour) + (hour * slope) / 24);
      const { trend, perDay } = forecastOf(points, 10_000, "weeks");
      assert.equal(trend, "growing", String(slope));
      assert.ok(Math.abs((perDay ?? 0) - slope) < slope / 10, String(perDay));
    }
  });

  it("takes no rhythm for growth, wherever in it one looks", () => {
    for (let count = 24; count <= 24 * 28; count += 5)
      for (const by of ["days", "weeks"] as const) {
        const value = by === "weeks" ? rhythm : (hour: number) => rhythm(hour % 24);
        const { trend } = forecastOf(hours(count, value), 10_000, by);
        assert.ok(trend === "steady" || trend === "unknown", `${by}, ${count} hours: ${trend}`);
      }
  });

  it("says that it runs out now where it has", () => {
    const points = hours(168, (hour) => 900 + hour);
    assert.equal(forecastOf(points, 1_000, "none").runsOutAt, points.at(-1)?.at);
  });

  it("claims no end for what shrinks or stands", () => {
    for (const by of ALL) {
      const shrinking = forecastOf(
        hours(24 * 28, (hour) => 900 - hour),
        1_000,
        by,
      );
      assert.equal(shrinking.trend, "shrinking", by);
      assert.equal(shrinking.runsOutAt, undefined);
      assert.equal(
        forecastOf(
          hours(24 * 28, () => 500),
          1_000,
          by,
        ).trend,
        "steady",
        by,
      );
    }
  });

  it("says how little it knows, and how much it needs", () => {
    const known = forecastOf(
      hours(5, (hour) => hour),
      1_000,
      "none",
    );
    assert.equal(known.trend, "unknown");
    assert.equal(known.knownMs, 4 * HOUR_MS);
    const week = forecastOf(
      hours(24 * 8, (hour) => hour),
      1_000,
      "weeks",
    );
    assert.equal(week.trend, "unknown");
    assert.equal(week.neededMs, 16 * DAY_MS);
  });
});
