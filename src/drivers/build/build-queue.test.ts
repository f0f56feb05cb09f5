import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate } from "node:timers/promises";
import { BuildQueue } from "./build-queue.ts";

describe("the build queue", () => {
  const open = (maxAtOnce: number) => {
    const queue = new BuildQueue(maxAtOnce);
    const running = new Map<string, () => void>();
    const add = (app: string, number = 1): void =>
      queue.add({
        key: `${app} ${number}`,
        app,
        work: () =>
          new Promise((resolve) => {
            running.set(`${app} ${number}`, () => {
              running.delete(`${app} ${number}`);
              resolve();
            });
          }),
      });
    return { queue, running, add, now: () => [...running.keys()].sort() };
  };

  it("begins those of one app one after the other", async () => {
    const { running, add, now } = open(3);
    add("staging/a");
    add("staging/a", 2);
    assert.deepEqual(now(), ["staging/a 1"]);
    running.get("staging/a 1")?.();
    await setImmediate();
    assert.deepEqual(now(), ["staging/a 2"]);
  });

  it("holds up no environment by the builds of another", async () => {
    const { running, add, now } = open(2);
    for (const app of ["a", "b", "c", "d"]) add(`staging/${app}`);
    assert.deepEqual(now(), ["staging/a 1", "staging/b 1"]);
    add("preview/x");
    add("preview/y");
    add("production/shop");
    const all = ["preview/x 1", "production/shop 1", "staging/a 1", "staging/b 1"];
    assert.deepEqual(now(), all);
    for (const one of ["staging/a 1", "preview/x 1", "production/shop 1"]) running.get(one)?.();
    await setImmediate();
    assert.deepEqual(now(), ["preview/y 1", "staging/b 1"], "no more than two where both have one");
  });

  it("is idle for an app once all of its builds have ended", async () => {
    const { queue, running, add } = open(1);
    add("staging/a");
    add("staging/a", 2);
    add("staging/b");
    let isIdle = false;
    const idle = queue.idle("staging/a").then(() => {
      isIdle = true;
    });
    for (const one of ["staging/a 1", "staging/b 1"]) {
      running.get(one)?.();
      await setImmediate();
      assert.equal(isIdle, false, one);
    }
    running.get("staging/a 2")?.();
    await idle;
    await queue.idle("staging/none");
  });

  it("says how many come before", () => {
    const { queue, add } = open(1);
    add("staging/a");
    add("staging/b");
    assert.equal(queue.ahead("staging/a 1"), 0);
    assert.equal(queue.ahead("staging/b 1"), 1);
    assert.equal(queue.ahead("staging/c 1"), undefined);
  });
});
