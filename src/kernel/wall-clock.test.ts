import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fromWallClock, wallClockAfter, zoneOffset } from "./wall-clock.ts";

const HOUR_MS = 3_600_000;
const iso = (at: number): string => new Date(at).toISOString();

describe("times of day in a zone", () => {
  it("know what clocks there are ahead of UTC", () => {
    assert.equal(zoneOffset("Europe/Madrid", Date.parse("2026-01-10T12:00Z")), HOUR_MS);
    assert.equal(zoneOffset("Europe/Madrid", Date.parse("2026-07-10T12:00Z")), 2 * HOUR_MS);
    assert.equal(zoneOffset("Asia/Kathmandu", Date.parse("2026-07-10T12:00Z")), 5.75 * HOUR_MS);
    assert.equal(zoneOffset("UTC", 0), 0);
  });

  it("are as long as the clock says, through both of its changes", () => {
    // From Friday 18:00 to Monday 08:00.
    const spring = wallClockAfter(
      "Europe/Madrid",
      Date.parse("2026-03-27T18:00+01:00"),
      62 * HOUR_MS,
    );
    assert.equal(iso(spring), iso(Date.parse("2026-03-30T08:00+02:00")));
    const autumn = wallClockAfter(
      "America/New_York",
      Date.parse("2026-10-30T18:00-04:00"),
      62 * HOUR_MS,
    );
    assert.equal(iso(autumn), iso(Date.parse("2026-11-02T08:00-05:00")));
    const plain = wallClockAfter("Europe/Madrid", Date.parse("2026-06-05T18:00Z"), 62 * HOUR_MS);
    assert.equal(iso(plain), "2026-06-08T08:00:00.000Z");
  });

  it("become moments, also where a clock shows them twice or never", () => {
    const at = (text: string): string => iso(fromWallClock("Europe/Madrid", Date.parse(text)));
    assert.equal(at("2026-12-20T18:00Z"), "2026-12-20T17:00:00.000Z");
    assert.equal(at("2026-10-25T02:30Z"), "2026-10-25T00:30:00.000Z", "the first of both");
    assert.ok(
      ["2026-03-29T00:30:00.000Z", "2026-03-29T01:30:00.000Z"].includes(at("2026-03-29T02:30Z")),
    );
  });
});
