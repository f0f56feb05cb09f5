import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { DeliveryRecord, Rollout } from "./app.ts";
import { DELIVERIES_MAX, deliveryFigures, withDelivery } from "./delivery.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const NOW = 100 * DAY;

let generation = 0;
function record(hoursAgo: number, more: Partial<DeliveryRecord> = {}): DeliveryRecord {
  generation += 1;
  const startedAt = NOW - hoursAgo * HOUR;
  return {
    generation,
    release: generation,
    reason: "deploy",
    startedAt,
    endedAt: startedAt + 60_000,
    outcome: "succeeded",
    leadFrom: startedAt - HOUR,
    exposed: true,
    ...more,
  };
}

describe("figures of delivery", () => {
  it("count deploys of the window, and the time from commit to users", () => {
    const figures = deliveryFigures([[record(1), record(30), record(24 * 40)]], NOW, 30);
    assert.equal(figures.deploys, 2);
    assert.equal(figures.deploysPerDay, 2 / 30);
    assert.equal(figures.leadTimeMs, HOUR + 60_000);
    assert.equal(figures.changeFailureRate, 0);
    assert.equal(figures.timeToRestoreMs, undefined);
  });

  it("count as failed what users got and what was undone: aborted, taken back, rolled back by hand", () => {
    const bad = record(20, { outcome: "rolled-back" });
    const back = record(19.9, { reason: "rollback", release: bad.release - 1 });
    const aborted = record(15, { outcome: "failed" });
    const neverSeen = record(14, { outcome: "failed", exposed: false });
    const { failures, deploys, changeFailureRate, timeToRestoreMs } = deliveryFigures(
      [[bad, back, aborted, neverSeen, record(2)]],
      NOW,
      7,
    );
    assert.equal(deploys, 3);
    assert.equal(failures, 2);
    assert.equal(changeFailureRate, 2 / 3);
    assert.ok(timeToRestoreMs !== undefined && timeToRestoreMs < HOUR);
  });

  it("blame a rollback on the deploy before it, not on one that was mended or is long ago", () => {
    const first = record(50);
    const second = record(40);
    const back = record(39, { reason: "rollback", release: first.release });
    assert.equal(deliveryFigures([[first, second, back]], NOW, 7).failures, 1);
    assert.equal(deliveryFigures([[first, second], [back]], NOW, 7).failures, 0, "of another app");
    const old = record(24 * 5);
    const late = record(2, { reason: "rollback", release: old.release - 1 });
    assert.equal(deliveryFigures([[old, late]], NOW, 7).failures, 0);
  });

  it("say nothing of nothing", () => {
    assert.deepEqual(deliveryFigures([], NOW, 7), {
      days: 7,
      deploys: 0,
      deploysPerDay: 0,
      failures: 0,
    });
  });

  it("are remembered once per rollout, as it ended at last, and no more than so many", () => {
    const rollout = (startedAt: number, outcome: Rollout["outcome"]) =>
      ({
        generation: startedAt,
        placement: { set: { release: startedAt, restarts: 0 } },
        reason: "deploy",
        startedAt,
        endedAt: startedAt + 5,
        outcome,
      }) as unknown as Rollout;
    let records = withDelivery(undefined, rollout(1, "succeeded"), 0);
    records = withDelivery(records, rollout(1, "rolled-back"), 0);
    assert.deepEqual(
      records.map(({ outcome }) => outcome),
      ["rolled-back"],
    );
    assert.equal(records[0]?.leadFrom, 0);
    for (let at = 2; at < 300; at += 1)
      records = withDelivery(records, rollout(at, "succeeded"), at);
    assert.equal(records.length, DELIVERIES_MAX);
    assert.equal(records[0]?.release, 299);
  });
});
