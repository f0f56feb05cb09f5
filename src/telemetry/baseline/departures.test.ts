import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { HourSummary } from "../../kernel/signal.ts";
import { departuresOf } from "./departures.ts";

const HOUR_MS = 3_600_000;
const WEEK_HOURS = 168;
const NOW = Date.parse("2026-11-16T10:00:00Z");
const SERVICE = { environment: "production", app: "shop", service: "web" };

// Chance that is the same in every run: mulberry32.
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Days quieter than evenings, weekends half of that, one percent of errors. */
function usualHour(hour: number, random: () => number): HourSummary {
  const at = new Date(hour);
  const wave = 1 + Math.sin(((at.getUTCHours() - 6) / 24) * 2 * Math.PI);
  const weekend = at.getUTCDay() % 6 === 0 ? 0.5 : 1;
  const requests = Math.round(3_000 * (0.2 + wave) * weekend * (0.92 + random() * 0.16));
  const errors = Math.round(requests * 0.01 * (0.7 + random() * 0.6));
  return { ...SERVICE, hour, requests, errors, p50Ms: 20, p95Ms: 80 * (0.9 + random() * 0.2) };
}

function historyOf(hours: number, random: () => number): Map<number, HourSummary> {
  const history = new Map<number, HourSummary>();
  for (let back = hours; back > 0; back -= 1) {
    const hour = NOW - back * HOUR_MS;
    history.set(hour, usualHour(hour, random));
  }
  return history;
}

describe("departuresOf", () => {
  const random = randomFrom(7);
  const history = historyOf(6 * WEEK_HOURS, random);
  const usual = usualHour(NOW, random);
  const what = (hour: HourSummary, share = 1): string[] =>
    departuresOf(hour, share, history).map((one) => one.what);

  it("says nothing of an hour like those before it", () => {
    assert.deepEqual(what(usual), []);
  });

  // Log-normal, without bounds: a tenth, and a half, is one deviation.
  for (const noise of [0.1, 0.3, 0.5])
    for (const weeks of [3, 5, 8])
      it(`names at most one of 200 ordinary hours that vary by ${noise}, after ${weeks} weeks`, () => {
        const chance = randomFrom(weeks * 100 + noise * 10);
        const gauss = (): number =>
          Math.sqrt(-2 * Math.log(chance() || 1e-12)) * Math.cos(2 * Math.PI * chance());
        const ordinary = (hour: number): HourSummary => ({
          ...SERVICE,
          hour,
          requests: Math.round(1_000 * Math.exp(noise * gauss())),
          errors: 0,
          p50Ms: 20,
          p95Ms: 100 * Math.exp(noise * gauss()),
        });
        let said = 0;
        const HOURS = 2_000;
        for (let i = 0; i < HOURS; i += 1) {
          const known = new Map<number, HourSummary>();
          for (let week = 1; week <= weeks; week += 1)
            for (const beside of [-1, 0, 1]) {
              const at = NOW - (week * WEEK_HOURS + beside) * HOUR_MS;
              known.set(at, ordinary(at));
            }
          said += departuresOf(ordinary(NOW), 1, known).length;
        }
        assert.ok(said <= (2 * HOURS) / 200, `${said} of ${2 * HOURS} measures`);
      });

  it("names a fall and a rise of requests, more errors and slower answers, and no improvement", () => {
    assert.deepEqual(what({ ...usual, requests: 0, errors: 0 }), ["requests"]);
    assert.deepEqual(what({ ...usual, requests: usual.requests * 3, errors: usual.errors * 3 }), [
      "requests",
    ]);
    assert.deepEqual(what({ ...usual, errors: usual.errors * 4 }), ["errors"]);
    assert.deepEqual(what({ ...usual, p95Ms: 160 }), ["p95"]);
    assert.deepEqual(what({ ...usual, errors: 0, p95Ms: 10 }), []);
  });

  it("says what was usual, and between what it would not have been said", () => {
    const [found] = departuresOf({ ...usual, p95Ms: 400 }, 1, history);
    assert.ok(found && found.usual > 72 && found.usual < 88, JSON.stringify(found));
    assert.ok(found.low < found.usual && found.high > found.usual && found.high < 400);
    assert.ok(found.score > 4);
  });

  it("knows the hour of the week: a quiet night is no departure, a night like a day is", () => {
    const night = NOW - 9 * HOUR_MS;
    const counted = history.get(night);
    assert.ok(counted && counted.requests < usual.requests / 2);
    assert.deepEqual(departuresOf(counted, 1, history), []);
    const [found] = departuresOf({ ...usual, hour: night }, 1, history);
    assert.equal(found?.what, "requests");
  });

  it("is not taken in by one bad week", () => {
    const outage = new Map(history);
    const before = NOW - WEEK_HOURS * HOUR_MS;
    outage.set(before, { ...usual, hour: before, errors: usual.requests, p95Ms: 9_000 });
    assert.deepEqual(departuresOf(usual, 1, outage), []);
    assert.equal(departuresOf({ ...usual, errors: usual.errors * 4 }, 1, outage).length, 1);
  });

  it("judges the hour that goes on by what is over of it", () => {
    const half = { ...usual, requests: usual.requests / 2, errors: usual.errors / 2 };
    assert.deepEqual(what(half, 0.5), []);
    assert.deepEqual(what(half, 1), ["requests"]);
  });

  it("says nothing while it knows too little, nor of errors among a handful of requests", () => {
    assert.deepEqual(departuresOf({ ...usual, requests: 0 }, 1, historyOf(20, random)), []);
    const few = new Map(
      [...history].map(([hour, one]) => [hour, { ...one, requests: 3, errors: 0 }]),
    );
    assert.deepEqual(departuresOf({ ...usual, requests: 4, errors: 4 }, 1, few), []);
  });
});
