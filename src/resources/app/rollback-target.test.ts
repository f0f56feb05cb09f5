import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type App, EMPTY_STATUS, type InstanceView } from "./app.ts";
import { rollbackTarget } from "./rollback-target.ts";

/** Which releases succeeded, newest first, which serves, which is wanted, and how it is. */
function app(
  succeeded: readonly number[],
  serving: number,
  wanted: number,
  state: InstanceView["state"] = "ready",
): App {
  const placement = (release: number) => ({
    set: { release, restarts: 0 },
    slot: "a" as const,
    counts: {},
  });
  return {
    spec: { release: wanted },
    status: {
      ...EMPTY_STATUS,
      serving: { ...placement(serving), since: 0 },
      history: succeeded.map((release) => ({
        outcome: "succeeded",
        placement: placement(release),
      })),
      instances: [{ name: "web.1", release: serving, state }],
    },
  } as unknown as App;
}

describe("a rollback without a number", () => {
  it("goes to the release before the one that serves", () => {
    assert.equal(rollbackTarget(app([3, 2, 1], 3, 3)), 2);
  });

  it("goes further back the second time, not forward again", () => {
    assert.equal(rollbackTarget(app([2, 3, 2, 1], 2, 2)), 1);
  });

  it("takes back a deploy that failed where the release that serves is well", () => {
    assert.equal(rollbackTarget(app([2, 1], 2, 3)), 2);
  });

  it("goes behind a release that serves badly, also after another deploy failed", () => {
    assert.equal(rollbackTarget(app([2, 1], 2, 3, "crash-loop")), 1);
    assert.equal(rollbackTarget(app([2, 1], 2, 3, "unhealthy")), 1);
  });

  it("passes over what was taken back, however long ago", () => {
    const steps = (
      ...entries: readonly (readonly [release: number, reason: string, outcome?: string])[]
    ): App => {
      const made = app([], entries.at(-1)?.[0] ?? 0, entries.at(-1)?.[0] ?? 0);
      const history = entries.map(([release, reason, outcome = "succeeded"]) => ({
        ...{ outcome, reason },
        placement: { set: { release, restarts: 0 }, slot: "a", counts: {} },
      }));
      return {
        ...made,
        status: { ...made.status, history: history.toReversed() },
      } as unknown as App;
    };
    const bad = steps([3, "deploy"], [4, "deploy"], [3, "rollback"], [5, "deploy"]);
    assert.equal(rollbackTarget(bad), 3, "4 was bad, and everybody knew");
    const itself = steps([3, "deploy"], [4, "deploy", "rolled-back"], [5, "deploy"]);
    assert.equal(rollbackTarget(itself), 3);
    const again = steps(
      [3, "deploy"],
      [4, "deploy"],
      [3, "rollback"],
      [4, "rollback"],
      [5, "deploy"],
    );
    assert.equal(rollbackTarget(again), 4, "somebody said that it is good");
    assert.equal(
      rollbackTarget(steps([2, "deploy"], [3, "deploy"], [4, "deploy"]), (one) => one === 3),
      2,
      "what it was made of is held",
    );
  });

  it("knows of none where nothing served before", () => {
    assert.equal(rollbackTarget(app([1], 1, 1)), undefined);
  });
});
