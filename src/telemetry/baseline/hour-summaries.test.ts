import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { requestRecord } from "../../../test/support/request-record.ts";
import { TelemetryStore } from "../store/telemetry-store.ts";
import { BaselineQuery } from "./baseline-query.ts";
import { HourSummaries } from "./hour-summaries.ts";

const HOUR_MS = 3_600_000;
const WEEK_HOURS = 168;
const NOW = Date.parse("2026-11-16T10:30:00Z");
const THIS_HOUR = NOW - HOUR_MS / 2;

describe("baselines of a store", () => {
  const dir = mkdtempSync(join(tmpdir(), "holdfast-baseline-"));
  let now = NOW;
  let store: TelemetryStore;
  let hours: HourSummaries;
  const ask = (since = 24 * HOUR_MS) =>
    new BaselineQuery(hours).anomalies({ from: now - since, to: now, environment: "production" });
  /** Requests of one hour, spread over its first half. */
  const hour = (at: number, requests: number, failed = 0): string =>
    Array.from({ length: requests }, (_, i) =>
      requestRecord(at + (i * HOUR_MS) / 2 / requests, {
        status: i < failed ? "500" : "200",
        totalMs: String(20 + (i % 10)),
      }),
    ).join("");

  before(async () => {
    store = await TelemetryStore.open({
      dir,
      now: () => now,
      policies: () => ({}),
      isSource: () => true,
      onProblem: (_what, error) => assert.fail(String(error)),
      onDropped: () => undefined,
    });
    hours = new HourSummaries({ dir, store, now: () => now });
    // Four weeks of 40 to 49 requests an hour, none in one of them yesterday.
    for (let back = 4 * WEEK_HOURS; back > 0; back -= 1)
      if (back !== 20)
        await store.append("requests", hour(THIS_HOUR - back * HOUR_MS, 40 + (back % 10)));
    await store.append("requests", hour(THIS_HOUR, 45, 20));
  });
  after(async () => {
    await store.close();
    rmSync(dir, { recursive: true, force: true });
  });

  it("names the hour without requests, and what goes wrong in this one", async () => {
    const { departures, known } = await ask();
    assert.deepEqual(known, [{ app: "shop", service: "web", hours: 4 * WEEK_HOURS }]);
    assert.deepEqual(
      departures.map(({ hour: at, what, value }) => [at, what, value]),
      [
        [THIS_HOUR, "errors", 20 / 45],
        [THIS_HOUR - 20 * HOUR_MS, "requests", 0],
      ],
    );
  });

  it("keeps what it learned without the requests, over a restart", async () => {
    for (const file of store.archive.files("requests")) store.archive.replace([file], []);
    await store.signals.requests.settle();
    for (const file of store.archive.files("requests")) store.archive.replace([file], []);
    hours = new HourSummaries({ dir, store, now: () => now });
    assert.equal([...(hours.histories().values().next().value ?? [])].length, 4 * WEEK_HOURS);
  });

  it("sums up each hour once, when it is over", async () => {
    now = THIS_HOUR + 3 * HOUR_MS + 60_000;
    await store.append("requests", hour(THIS_HOUR + HOUR_MS, 44));
    await Promise.all([hours.update(), hours.update()]);
    const { hours: kept } = JSON.parse(readFileSync(join(dir, "hours.json"), "utf8")) as {
      hours: { hour: number }[];
    };
    assert.equal(new Set(kept.map((one) => one.hour)).size, kept.length);
    const [history] = hours.histories().values();
    // Of the hour that just ended requests may still come in.
    assert.equal(hours.through, THIS_HOUR + 2 * HOUR_MS);
    assert.equal(history?.get(THIS_HOUR + HOUR_MS)?.requests, 44);
  });
});
