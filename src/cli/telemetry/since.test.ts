import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { sinceMsOf } from "./since.ts";

const NOW = Date.parse("2026-11-26T15:00:00Z");
const at = (text: string): string => new Date(NOW - sinceMsOf(text, "--since", NOW)).toISOString();

describe("--since", () => {
  for (const [given, moment] of [
    ["90s", "2026-11-26T14:58:30.000Z"],
    ["2d", "2026-11-24T15:00:00.000Z"],
    ["14:30Z", "2026-11-26T14:30:00.000Z"],
    ["9:05 UTC", "2026-11-26T09:05:00.000Z"],
    ["15:30+01:00", "2026-11-26T14:30:00.000Z"],
    ["15:30 Europe/Madrid", "2026-11-26T14:30:00.000Z"],
    // It is not yet so late today.
    ["18:00Z", "2026-11-25T18:00:00.000Z"],
    ["23:30 America/New_York", "2026-11-26T04:30:00.000Z"],
    ["01:00 Asia/Tokyo", "2026-11-25T16:00:00.000Z"],
    ["2026-11-20", new Date(2026, 10, 20).toISOString()],
    ["2026-11-20T08:00Z", "2026-11-20T08:00:00.000Z"],
    ["2026-11-20 08:00:30 Europe/Madrid", "2026-11-20T07:00:30.000Z"],
  ] as const)
    it(`${given} is ${moment}`, () => assert.equal(at(given), moment));

  for (const given of ["soon", "25:00Z", "2026-13-01", "5 minutes", "14:30 Nowhere/City", ""])
    it(`"${given}" is none`, () => {
      assert.throws(() => at(given), /is neither a duration nor a time/);
    });

  it("is in the past", () => {
    assert.throws(() => at("2027-01-01"), /is still to come/);
  });
});
