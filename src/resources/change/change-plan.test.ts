import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Change, ChangeSpec } from "./change.ts";
import { type ChangeObserved, reportChange } from "./change-plan.ts";

const NOW = 1_800_000_000_000;
const spec = { number: 7, needs: 1, expiresAt: NOW - 1, approvals: [] } as unknown as ChangeSpec;
const observed = (more: Partial<ChangeObserved>): ChangeObserved => ({
  now: NOW,
  gate: { open: false, by: "production/sale", reason: "sale", opensAt: NOW + 60_000 },
  standing: { approvals: 1, needs: 1 },
  rollout: undefined,
  hasRollout: false,
  ...more,
});
const reported = (more: Partial<ChangeObserved>) =>
  reportChange({ spec, status: undefined } as unknown as Change, observed(more));

describe("a change", () => {
  it("waits for its time however long that is, once it is approved", () => {
    assert.equal(reported({}).phase, "scheduled");
    const undecided = reported({ standing: { approvals: 0, needs: 1 } });
    assert.deepEqual([undecided.phase, undecided.text], ["expired", "nobody decided in time"]);
  });

  it("needs what the rules say now, and who asked to be there still", () => {
    const stricter = reported({ now: NOW - 10, standing: { approvals: 1, needs: 2 } });
    assert.deepEqual([stricter.phase, stricter.text], ["asked", "needs 1 more approval"]);
    const problem = "ben, who asked for it, is disabled or gone";
    const gone = reported({ now: NOW - 10, standing: { approvals: 1, needs: 1, problem } });
    assert.deepEqual([gone.phase, gone.text], ["asked", problem]);
  });
});
