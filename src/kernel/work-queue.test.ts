import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SeededRandom, VirtualClock } from "../../test/support/virtual-clock.ts";
import { sleep, systemClock } from "./clock.ts";
import { WorkQueue } from "./work-queue.ts";

function queueWith(
  work: (key: string) => Promise<{ recheckAfterMs: number } | undefined>,
  maxWorkers = 2,
) {
  const clock = new VirtualClock();
  const retries: number[] = [];
  const queue = new WorkQueue({
    clock,
    random: new SeededRandom(1),
    maxWorkers,
    work,
    onError: (_key, _error, retryInMs) => retries.push(retryInMs),
  });
  return { clock, queue, retries };
}

describe("work queue", () => {
  it("looks once at a name that was added often, and once more at one added meanwhile", async () => {
    let looks = 0;
    const { clock, queue } = queueWith(async () => {
      looks += 1;
      await sleep(clock, 10);
      return undefined;
    });
    for (let i = 0; i < 5; i += 1) queue.add("a");
    await clock.advance(5);
    for (let i = 0; i < 5; i += 1) queue.add("a");
    await clock.advance(100);
    assert.equal(looks, 2);
  });

  it("never works on one name twice at once, and on no more names than it has workers", async () => {
    const open = new Set<string>();
    let most = 0;
    const { clock, queue } = queueWith(async (key) => {
      assert.ok(!open.has(key));
      open.add(key);
      most = Math.max(most, open.size);
      await sleep(clock, 7);
      open.delete(key);
      return { recheckAfterMs: 3 };
    });
    for (const key of ["a", "b", "c", "d"]) queue.add(key);
    await clock.advance(500);
    assert.equal(most, 2);
  });

  it("repeats a failed look later and later, up to a bound", async () => {
    const { clock, queue, retries } = queueWith(async () => {
      throw new Error("no");
    });
    queue.add("a");
    await clock.advance(300_000);
    assert.ok(retries.length > 8);
    assert.ok((retries[0] ?? 0) <= 250);
    assert.ok(retries.every((ms) => ms <= 30_000));
    assert.ok((retries.at(-1) ?? 0) >= 15_000);
  });

  it("looks again by itself, also when nobody gives a hint", async () => {
    let looks = 0;
    const { clock, queue } = queueWith(async () => {
      looks += 1;
      return { recheckAfterMs: 1_000 };
    });
    queue.add("a");
    await clock.advance(10_500);
    assert.equal(looks, 11);
  });

  it("leaves turns to everything else, whatever a look says", async () => {
    let looks = 0;
    const queue = new WorkQueue({
      clock: systemClock,
      random: new SeededRandom(1),
      maxWorkers: 1,
      work: async () => {
        looks += 1;
        return { recheckAfterMs: 0 };
      },
      onError: () => undefined,
    });
    queue.add("a");
    // Without turns of its own this timer would never come.
    await sleep(systemClock, 50);
    await queue.stop();
    assert.ok(looks > 1 && looks < 500, String(looks));
  });

  it("begins nothing after it was stopped, and waits for what is under way", async () => {
    let done = 0;
    const { clock, queue } = queueWith(async () => {
      await sleep(clock, 50);
      done += 1;
      return { recheckAfterMs: 1 };
    });
    queue.add("a");
    await clock.advance(10);
    const stopped = queue.stop();
    await clock.advance(1_000);
    await stopped;
    assert.equal(done, 1);
  });
});
