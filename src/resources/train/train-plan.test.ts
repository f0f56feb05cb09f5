import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { inOrder, type Train, type TrainStatusFields } from "./train.ts";
import { planTrain, type RolloutState, reportTrain } from "./train-plan.ts";

const APPS = ["payments", "shop", "mail"];

/** Runs a train to its end; `fails` are apps whose release fails, `stays` those that can't go back. */
function play(fails: readonly string[], stays: readonly string[] = []) {
  const deeds: string[] = [];
  const states = new Map<string, RolloutState>();
  let status: TrainStatusFields | undefined;
  for (let looks = 0; looks < 50; looks += 1) {
    const train = {
      spec: { cars: APPS.map((app) => ({ app, release: 1 })) },
      status,
    } as unknown as Train;
    const rolloutOf = (app: string, generation: number): RolloutState =>
      states.get(`${app} ${generation}`) ?? { state: "running" };
    const observed = { rolloutOf, closed: () => undefined };
    status = reportTrain(train, observed);
    const plan = planTrain({ ...train, status } as Train, observed);
    if (plan.verdict !== "change") {
      if (plan.verdict === "converged") break;
      continue;
    }
    for (const step of plan.steps) {
      deeds.push(`${step.do === "promote-car" ? "+" : "-"}${step.app}`);
      const isUndo = step.do === "undo-car";
      const isBad = isUndo ? stays.includes(step.app) : fails.includes(step.app);
      states.set(
        `${step.app} ${isUndo ? 2 : 1}`,
        isBad ? { state: "failed", reason: "bad" } : { state: "succeeded" },
      );
      status = {
        ...status,
        cars: status.cars.map((car) =>
          car.app !== step.app
            ? car
            : isUndo
              ? { ...car, state: "undoing", undoGeneration: 2 }
              : { ...car, state: "running", generation: 1 },
        ),
      };
    }
  }
  return { deeds, status };
}

describe("a train", () => {
  it("releases one app after the other", () => {
    const { deeds, status } = play([]);
    assert.deepEqual(deeds, ["+payments", "+shop", "+mail"]);
    assert.equal(status?.phase, "succeeded");
  });

  it("goes back in reverse where one fails, and begins no further one", () => {
    const { deeds, status } = play(["shop"]);
    assert.deepEqual(deeds, ["+payments", "+shop", "-payments"]);
    assert.equal(status?.phase, "undone");
    assert.match(status.text, /shop failed \(bad\)/);
    assert.deepEqual(play(["mail"]).deeds, ["+payments", "+shop", "+mail", "-shop", "-payments"]);
  });

  it("has nothing to undo where the first fails", () => {
    const { deeds, status } = play(["payments"]);
    assert.deepEqual(deeds, ["+payments"]);
    assert.equal(status?.phase, "undone");
  });

  it("says what did not go back, and goes on with the others", () => {
    const { deeds, status } = play(["mail"], ["shop"]);
    assert.deepEqual(deeds, ["+payments", "+shop", "+mail", "-shop", "-payments"]);
    assert.equal(status?.phase, "failed");
    assert.match(status.text, /shop did not go back: bad/);
  });

  it("is in the order of what needs what, otherwise as given", () => {
    const needs = new Map([
      ["shop", ["payments", "elsewhere"]],
      ["mail", ["shop"]],
    ]);
    assert.deepEqual(inOrder(["mail", "shop", "payments"], needs), ["payments", "shop", "mail"]);
    assert.deepEqual(inOrder(["b", "a"], new Map()), ["b", "a"]);
    assert.equal(
      inOrder(
        ["a", "b"],
        new Map([
          ["a", ["b"]],
          ["b", ["a"]],
        ]),
      ),
      undefined,
    );
  });

  it("holds what has not begun while it is closed, and takes nothing back for it", () => {
    const cars = APPS.map((app) => ({ app, state: "waiting" as const }));
    const train = { spec: {}, status: { phase: "running", cars, text: "" } } as unknown as Train;
    const rolloutOf = (): RolloutState => ({ state: "running" });
    const plan = planTrain(train, { rolloutOf, closed: () => "production/holidays (closed)" });
    assert.equal(plan.verdict, "wait");
    assert.match(plan.verdict === "wait" ? plan.reason : "", /waits for production\/holidays/);
  });
});
