import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Rollout } from "./app.ts";
import { afterAbsence, notAhead } from "./rollout-clock.ts";

const NOW = 1_800_000_000_000;
const rollout = (times: Partial<Rollout>): Rollout =>
  ({ startedAt: NOW - 90_000_000, phaseSince: NOW - 20_000, ...times }) as Rollout;

describe("the time of a phase", () => {
  it("does not run while nobody looks", () => {
    const day = 86_400_000;
    const away = rollout({ phaseSince: NOW - day - 20_000, lookedAt: NOW - day });
    assert.deepEqual(
      [afterAbsence(away, NOW).phaseSince, afterAbsence(away, NOW).lookedAt],
      [NOW - 20_000 - 15_000, NOW],
    );
  });

  it("runs while somebody does, however slow each look is", () => {
    for (const lookMs of [500, 4_000, 14_000])
      assert.equal(afterAbsence(rollout({ lookedAt: NOW - lookMs }), NOW).phaseSince, NOW - 20_000);
    // Looks of a minute each: a quarter of the time counts, so that every phase ends.
    let slow = rollout({ phaseSince: NOW, lookedAt: NOW });
    for (let look = 1; look <= 8; look += 1) slow = afterAbsence(slow, NOW + look * 60_000);
    assert.equal(NOW + 8 * 60_000 - slow.phaseSince, 8 * 15_000);
  });

  it("begins to be followed with a rollout of an earlier build", () => {
    assert.deepEqual(afterAbsence(rollout({}), NOW), rollout({ lookedAt: NOW }));
    assert.equal(afterAbsence(rollout({ lookedAt: NOW - 100 }), NOW).lookedAt, NOW - 100);
  });

  it("is not ahead of a clock that went back", () => {
    const back = notAhead(rollout({ lookedAt: NOW + 5_000, phaseSince: NOW + 4_000 }), NOW);
    assert.deepEqual([back.lookedAt, back.phaseSince], [NOW, NOW]);
    assert.equal(afterAbsence(back, NOW).phaseSince, NOW);
  });
});
