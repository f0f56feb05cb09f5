import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Engine, EngineStatusFields } from "./engine.ts";
import type { EngineView } from "./engine-driver.ts";
import { planEngine, reportEngine } from "./engine-plan.ts";

const NOW = 1_000_000;
const healthy: EngineView = {
  version: "15",
  packages: "postgresql",
  hasData: true,
  process: "ready",
  startedAt: 1,
  endedAt: undefined,
  recentEnds: 0,
  detail: undefined,
  address: "127.0.0.1:5432",
};

function decide(view: Partial<EngineView>, status?: Partial<EngineStatusFields>, deleting = false) {
  const engine: Engine = {
    kind: "database",
    name: "production",
    uid: "u",
    generation: 1,
    spec: { engine: "postgresql" },
    status: status && { initialized: false, state: "ready", ...status },
    deleting,
    createdAt: 0,
    updatedAt: 0,
  };
  const observed = { now: NOW, view: { ...healthy, ...view } };
  const reported = reportEngine(engine, observed);
  return { reported, plan: planEngine({ ...engine, status: reported }, observed) };
}

const stepOf = ({ plan }: ReturnType<typeof decide>): string | undefined =>
  plan.verdict === "change" ? plan.steps[0].do : undefined;

describe("engine plan", () => {
  it("creates data once, and records that it did before it begins", () => {
    const decision = decide({ hasData: false, process: "absent" });
    assert.equal(stepOf(decision), "create-engine");
    assert.equal(decision.reported.initialized, true);
  });

  it("waits for what has to be ready first, which is no fault", () => {
    const { plan } = decide({ process: "absent", awaits: "database production" });
    assert.equal(plan.verdict, "wait");
    assert.match(
      plan.verdict === "wait" ? plan.reason : "",
      /database production is not ready yet/,
    );
    assert.equal(stepOf(decide({ process: "absent" })), "start-engine");
  });

  it("goes on creating after a crash in the middle of it", () => {
    assert.equal(
      stepOf(
        decide({ hasData: false, process: "absent" }, { initialized: true, state: "creating" }),
      ),
      "create-engine",
    );
  });

  it("never lays an empty store over lost data", () => {
    const { plan, reported } = decide(
      { hasData: false, process: "absent" },
      { initialized: true, state: "ready" },
    );
    assert.equal(plan.verdict, "blocked");
    assert.equal(reported.state, "data-missing");
  });

  it("starts what does not run, later and later when it keeps ending", () => {
    assert.equal(stepOf(decide({ process: "absent" }, { initialized: true })), "start-engine");
    const { plan } = decide(
      { process: "absent", recentEnds: 4, endedAt: NOW - 100 },
      { initialized: true },
    );
    assert.equal(plan.verdict, "wait");
    const blocked = decide(
      { process: "absent", recentEnds: 6, endedAt: NOW - 100, detail: "exit status 1" },
      { initialized: true },
    );
    assert.equal(blocked.plan.verdict, "blocked");
  });

  it("configures what runs with something else than it should", () => {
    const { plan } = decide({ outdated: "rules.yml" }, { initialized: true });
    assert.ok(plan.verdict === "change" && plan.steps[0].do === "configure-engine");
    assert.match(plan.steps[0].why, /rules\.yml/);
  });

  it("says which package is missing", () => {
    const { plan } = decide({ version: undefined, process: "absent" });
    assert.ok(plan.verdict === "blocked" && plan.hint.includes("apt-get install postgresql"));
  });

  it("is converged when it is ready, and stops what was deleted", () => {
    assert.equal(decide({}, { initialized: true }).plan.verdict, "converged");
    assert.equal(stepOf(decide({}, { initialized: true }, true)), "stop-engine");
  });
});
