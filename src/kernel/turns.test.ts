import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate } from "node:timers/promises";
import { Turns } from "./turns.ts";

describe("turns", () => {
  const open = (atOnce: number, ofOne: number, waitingMax = 2) => {
    const turns = new Turns({
      atOnce,
      ofOne,
      waitingMax,
      refusal: (key) => new Error(`${key} waits`),
    });
    const inside = new Map<string, () => void>();
    const take = (key: string, name: string, signal?: AbortSignal): Promise<string> =>
      turns.take(
        key,
        () =>
          new Promise((resolve) => {
            inside.set(name, () => {
              inside.delete(name);
              resolve(name);
            });
          }),
        signal,
      );
    return { turns, inside, take, now: () => [...inside.keys()] };
  };

  it("gives some to each, and the last place to one that has none", async () => {
    const { inside, take, now } = open(3, 2);
    const all = [take("a", "a1"), take("a", "a2"), take("a", "a3"), take("b", "b1")];
    await setImmediate();
    assert.deepEqual(now(), ["a1", "a2", "b1"]);
    inside.get("b1")?.();
    await setImmediate();
    assert.deepEqual(now(), ["a1", "a2"], "two are the most of one");
    inside.get("a1")?.();
    await setImmediate();
    assert.deepEqual(now(), ["a2", "a3"]);
    for (const end of inside.values()) end();
    assert.deepEqual(await Promise.all(all), ["a1", "a2", "a3", "b1"]);
  });

  it("gives one no more than its part, also where there is room", async () => {
    const { inside, take, now } = open(9, 2);
    const all = [take("a", "a1"), take("a", "a2"), take("a", "a3"), take("b", "b1")];
    await setImmediate();
    assert.deepEqual(now(), ["a1", "a2", "b1"]);
    for (const name of ["a1", "a2", "b1"]) inside.get(name)?.();
    await setImmediate();
    inside.get("a3")?.();
    await Promise.all(all);
  });

  it("refuses one of whom too many wait, and lets go who waits no more", async () => {
    const { turns, inside, take } = open(2, 1, 2);
    const first = take("a", "a1");
    const left = new AbortController();
    const second = take("a", "a2", left.signal);
    const third = take("a", "a3");
    await assert.rejects(take("a", "a4"), /a waits/);
    left.abort(new Error("gone"));
    await assert.rejects(second, /gone/);
    const fourth = take("a", "a4");
    turns.close();
    await assert.rejects(third, /a waits/);
    await assert.rejects(fourth, /a waits/);
    inside.get("a1")?.();
    assert.equal(await first, "a1");
  });

  it("goes on after what fails", async () => {
    const { turns } = open(1, 1);
    await assert.rejects(
      turns.take("a", () => Promise.reject(new Error("broken"))),
      /broken/,
    );
    assert.equal(await turns.take("a", async () => 1), 1);
  });
});
