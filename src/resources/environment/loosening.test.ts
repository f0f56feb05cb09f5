import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CLASS_RULES, type EnvironmentRules } from "./environment-rules.ts";
import { loosenedRules } from "./loosening.ts";

const BEFORE: EnvironmentRules = {
  ...CLASS_RULES.production,
  approvals: 2,
  promoteFrom: ["staging"],
  localPorts: [5432],
};

describe("rules that are loosened", () => {
  for (const [change, isLooser] of [
    [{ protected: false }, true],
    [{ approvals: 1 }, true],
    [{ approvals: 3 }, false],
    [{ approverTieHours: 1 }, true],
    [{ approverTieHours: 48 }, false],
    [{ standardChanges: ["rollback", "restart", "deploy"] }, true],
    [{ standardChanges: [] }, false],
    [{ strategies: ["canary"] }, false],
    [{ promoteFrom: [] }, true],
    [{ promoteFrom: ["staging", "preview"] }, true],
    [{ contractMigrations: "allow" }, true],
    [{ releaseCommandSeconds: 7_200 }, true],
    [{ maxInstances: 10 }, false],
    [{ spentErrorBudget: "allow" }, true],
    [{ riskyFrom: 90 }, true],
    [{ riskyFrom: 10 }, false],
    [{ reviewHours: 100 }, true],
    [{ localPorts: [] }, false],
    [{ localPorts: [5432, 6379] }, true],
    [{ cloudMetadata: "allow" }, true],
    [{ uncommittedSources: "refuse" }, false],
    [{}, false],
  ] as const)
    it(`${JSON.stringify(change)} ${isLooser ? "is" : "is not"} one`, () => {
      const after = { ...BEFORE, ...change } as EnvironmentRules;
      assert.equal(loosenedRules(BEFORE, after).length > 0, isLooser);
    });

  it("says from what to what", () => {
    const after = { ...BEFORE, approvals: 0, promoteFrom: [] };
    assert.deepEqual(loosenedRules(BEFORE, after), [
      "approvals: 2 → 0",
      "promoteFrom: staging → none",
    ]);
    assert.ok(loosenedRules(CLASS_RULES.production, CLASS_RULES.development).length > 3);
  });
});
