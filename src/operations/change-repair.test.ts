import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Rollout } from "../resources/app/app.ts";
import { CLASS_RULES } from "../resources/environment/environment-rules.ts";
import { assertBudget } from "./change-checks.ts";
import { repairedRelease } from "./change-repair.ts";
import type { BudgetLeft } from "./change-risk.ts";

const ended = (release: number, outcome: Rollout["outcome"]) =>
  ({ outcome, placement: { set: { release, restarts: 0 } } }) as Rollout;
const spentBy = (release: number, share = 0.9, left = -3): BudgetLeft => ({
  service: "web",
  left,
  spentBy: [{ release, share }],
});

describe("repairs", () => {
  it("are what comes while the release that spent the budget is the last that succeeded", () => {
    assert.equal(repairedRelease(spentBy(12), { history: [ended(12, "succeeded")] }), 12);
  });
  it("are what comes after it was taken back, also at the second attempt", () => {
    const back = [ended(11, "succeeded"), ended(12, "rolled-back"), ended(11, "succeeded")];
    assert.equal(repairedRelease(spentBy(12), { history: back }), 12);
    const again = [ended(13, "failed"), ...back];
    assert.equal(repairedRelease(spentBy(12), { history: again }), 12);
  });
  it("end with the first newer release that succeeded", () => {
    const repaired = [ended(13, "succeeded"), ended(12, "rolled-back")];
    assert.equal(repairedRelease(spentBy(12), { history: repaired }), undefined);
  });
  it("are found beside releases that spent more, and were repaired", () => {
    const budget = {
      ...spentBy(5),
      spentBy: [
        { release: 5, share: 0.6 },
        { release: 12, share: 0.4 },
      ],
    };
    const history = [ended(12, "rolled-back"), ended(11, "succeeded")];
    assert.equal(repairedRelease(budget, { history }), 12);
    assert.equal(repairedRelease(budget, { history: [ended(13, "succeeded")] }), undefined);
  });
  it("are not what comes where nobody is to blame, or nothing is spent", () => {
    assert.equal(repairedRelease(spentBy(12, 0.05), { history: [] }), undefined);
    assert.equal(repairedRelease(spentBy(12, 0.9, 0.2), { history: [] }), undefined);
    assert.equal(repairedRelease({ service: "web", left: -1 }, { history: [] }), undefined);
  });

  const place = { rules: { ...CLASS_RULES.production, riskyFrom: 60 } } as Parameters<
    typeof assertBudget
  >[0];
  const facts = (budgets: readonly BudgetLeft[]) => ({
    budgets,
    risk: { score: 80, parts: [] },
    migrations: [],
    before: undefined,
    source: undefined,
  });

  it("are not held by the budget, and everything else is, with the way out", () => {
    assertBudget(place, facts([{ ...spentBy(12), repairs: 12 }]), {});
    assert.throws(
      () => assertBudget(place, facts([spentBy(12)]), {}),
      (error: { code: string; message: string; hint: string }) =>
        error.code === "change.budget_spent" &&
        error.message.includes("90 % of it by release 12") &&
        error.hint.includes("--override-budget"),
    );
    assert.throws(
      () => assertBudget(place, facts([{ ...spentBy(12), repairs: 12 }, spentBy(3)]), {}),
      { code: "change.budget_spent" },
    );
  });
});
