import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { forecastOf } from "./insight-routes.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const week = (value: (hour: number) => number) =>
  Array.from({ length: 168 }, (_, hour) => ({ at: hour * HOUR_MS, value: value(hour) }));
const END = 167 * HOUR_MS;

describe("forecastOf", () => {
  it("says when what grows meets its limit, and between when", () => {
    // 10 a day, with days and nights of ±5 around it; 430 are left.
    const { trend, perDay, runsOutAt, earliestAt, latestAt } = forecastOf(
      week((hour) => 500 + (hour * 10) / 24 + 5 * Math.sin((hour / 24) * 2 * Math.PI)),
      1_000,
    );
    assert.equal(trend, "growing");
    assert.ok(Math.abs((perDay ?? 0) - 10) < 0.5, String(perDay));
    const days = ((runsOutAt ?? 0) - END) / DAY_MS;
    assert.ok(Math.abs(days - 43) < 3, String(days));
    assert.ok((earliestAt ?? 0) <= (runsOutAt ?? 0) && (runsOutAt ?? 0) <= (latestAt ?? 0));
  });

  it("says that it runs out now where it has", () => {
    const { runsOutAt } = forecastOf(
      week((hour) => 900 + hour),
      1_000,
    );
    assert.equal(runsOutAt, END);
  });

  it("claims no end for what shrinks, stands, or is only days and nights", () => {
    assert.equal(
      forecastOf(
        week((hour) => 500 - hour),
        1_000,
      ).trend,
      "shrinking",
    );
    assert.equal(
      forecastOf(
        week(() => 500),
        1_000,
      ).trend,
      "steady",
    );
    const waves = forecastOf(
      week((hour) => 500 + 100 * Math.sin((hour / 24) * 2 * Math.PI)),
      1_000,
    );
    assert.equal(waves.trend, "steady", JSON.stringify(waves));
    assert.equal(waves.runsOutAt, undefined);
  });

  it("says how little it knows", () => {
    const known = forecastOf(week((hour) => hour).slice(0, 5), 1_000);
    assert.equal(known.trend, "unknown");
    assert.equal(known.knownMs, 4 * HOUR_MS);
  });
});
