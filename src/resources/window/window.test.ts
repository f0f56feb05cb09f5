import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { gateAt, nextStretch, windowMistake, windowSchema } from "./window.ts";

const NOW = Date.parse("2026-11-20T12:00:00Z");
const HOUR_MS = 3_600_000;
const window = (name: string, spec: object) => ({
  name: `production/${name}`,
  spec: windowSchema.parse({ kind: "window", reason: "because", ...spec }),
});
const subject = { environment: "production", app: "shop", action: "deploy" } as const;

describe("windows and freezes", () => {
  it("close nothing once they are over and do not come again", () => {
    const over = window("launch", { from: NOW - 2 * HOUR_MS, until: NOW - HOUR_MS });
    assert.equal(gateAt([over], subject, NOW).open, true);
    const ahead = window("launch", { from: NOW + HOUR_MS, until: NOW + 2 * HOUR_MS });
    const gate = gateAt([over, ahead], subject, NOW);
    assert.equal(gate.open, false);
    assert.equal(gate.open ? 0 : gate.opensAt, NOW + HOUR_MS);
  });

  it("are refused where one begins before the one before it has ended", () => {
    const mistake = (schedule: string, durationMs: number): string | undefined =>
      windowMistake(window("x", { schedule, durationMs }).spec, NOW);
    assert.match(mistake("* 9-17 * * *", 60_000) ?? "", /begins again before it has ended/);
    assert.match(mistake("*/10 * * * *", 600_000) ?? "", /begins again/);
    assert.equal(mistake("0 9 * * 1-5", 9 * HOUR_MS), undefined);
    assert.equal(mistake("0 18 * * 5", 62 * HOUR_MS), undefined);
    assert.match(mistake("0 0 30 2 *", HOUR_MS) ?? "", /never comes/);
  });

  it("let a freeze win over a window, in the time zone of each", () => {
    const day = window("day", {
      schedule: "0 9 * * *",
      durationMs: 8 * HOUR_MS,
      timezone: "Europe/Madrid",
    });
    const freeze = window("sale", { kind: "freeze", until: NOW + HOUR_MS, apps: ["sh*"] });
    assert.equal(gateAt([day], subject, NOW).open, true);
    assert.equal(gateAt([day], subject, NOW + 5 * HOUR_MS).open, false);
    const closed = gateAt([day, freeze], subject, NOW);
    assert.equal(closed.open ? "" : closed.by, "production/sale");
    assert.equal(gateAt([day, freeze], { ...subject, app: "cart" }, NOW).open, true);
  });

  it("of weekends end when the clock says so, through both of its changes", () => {
    const weekend = {
      ...{ kind: "freeze" as const, reason: "weekend", apps: [], actions: [] },
      ...{ schedule: "0 18 * * 5", durationMs: 62 * 3_600_000, timezone: "Europe/Madrid" },
    };
    for (const [during, end] of [
      ["2026-03-29T12:00+02:00", "2026-03-30T08:00+02:00"],
      ["2026-10-25T12:00+01:00", "2026-10-26T08:00+01:00"],
      ["2026-06-06T12:00+02:00", "2026-06-08T08:00+02:00"],
    ] as const)
      assert.equal(nextStretch(weekend, Date.parse(during))?.until, Date.parse(end), during);
    const monday = Date.parse("2026-10-26T07:30+01:00");
    assert.ok((nextStretch(weekend, monday)?.from ?? 0) < monday, "still on, an hour longer");
    const over = Date.parse("2026-03-30T08:00+02:00");
    assert.ok((nextStretch(weekend, over)?.from ?? 0) > over);
  });

  it("have five fields, and no seconds", () => {
    const six = {
      ...{ kind: "freeze" as const, reason: "x", apps: [], actions: [], timezone: "UTC" },
      ...{ schedule: "0 0 18 * * 5", durationMs: 3_600_000 },
    };
    assert.match(windowMistake(six, 0) ?? "", /it has 6 fields, and cron has five/);
  });
});
