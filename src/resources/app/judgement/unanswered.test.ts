import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SeededRandom } from "../../../../test/support/virtual-clock.ts";
import type { ArmCounts } from "../../../kernel/signal.ts";
import { defaultRollout } from "../rollout-policy.ts";
import { findingsOf } from "./findings.ts";
import { beginJudgement, foldBlock, type Judgement, withArms } from "./judgement.ts";
import { countAhead, withWaiting } from "./unanswered.ts";

const HANG_S = 20;
const ARMS_EVERY_S = 2;
const STORIES = 60;
const LEVELS = Array.from({ length: 201 }, (_, step) => step / 200);
const isRefuted = (judgement: Judgement): boolean =>
  findingsOf(judgement, defaultRollout.analysis, 1).certain.length > 0;

const arm = (release: number, more: Partial<ArmCounts> = {}): ArmCounts => ({
  ...{ service: "web", release, requests: 0, errors: 0, logErrors: 0, timed: 0 },
  ...{ over: [0, 0, 0, 0], quantiles: [] },
  ...more,
});
const BASELINE = arm(1, { requests: 600, timed: 600, quantiles: LEVELS.map((at) => 10 + at * 20) });

/** One arm over time: each request hangs with this chance, and its client gives up after HANG_S. */
class HangingArm {
  readonly #hangs: number[] = [];
  #timed = 0;
  readonly #random: SeededRandom;
  readonly #release: number;
  readonly #share: number;

  constructor(random: SeededRandom, release: number, share: number) {
    this.#random = random;
    this.#release = release;
    this.#share = share;
  }

  second(now: number, requests: number): ArmCounts {
    let answered = 0;
    for (let i = 0; i < requests; i += 1)
      if (this.#random.fraction() < this.#share) this.#hangs.push(now);
      else answered += 1;
    const gaveUp = this.#hangs.filter((since) => now - since === HANG_S).length;
    this.#timed += answered + gaveUp;
    // Of what answers, as many are slower than each quantile as there were before.
    const slow = [0.5, 0.1, 0.05, 0.01].map((share) => {
      let count = gaveUp;
      for (let i = 0; i < answered; i += 1) if (this.#random.fraction() < share) count += 1;
      return count;
    });
    return arm(this.#release, {
      requests: answered,
      timed: answered + gaveUp,
      over: slow,
      unanswered: this.#ages(now),
    });
  }

  sofar(now: number): ArmCounts {
    const ended = this.#hangs.filter((since) => now - since >= HANG_S).length;
    const share = ended / Math.max(1, this.#timed);
    const quantiles = LEVELS.map((at) => (at > 1 - share ? HANG_S * 1000 : 10 + at * 20));
    const all = { requests: this.#timed - ended, timed: this.#timed, unanswered: this.#ages(now) };
    return arm(this.#release, { ...all, quantiles });
  }

  readonly #ages = (now: number): number[] =>
    this.#hangs
      .map((since) => (now - since) * 1000)
      .filter((ms) => ms >= 1_000 && ms < HANG_S * 1000);
}

/** The second in which the candidate is refuted, of sixty. */
function play(random: SeededRandom, perSecond: [number, number], share: [number, number]) {
  const [serving, candidate] = [1, 2].map(
    (release, i) => new HangingArm(random, release, share[i] ?? 0),
  ) as [HangingArm, HangingArm];
  let judgement = beginJudgement(0, { arms: [BASELINE] });
  for (let now = 1; now <= 60; now += 1) {
    const block = {
      serving: [serving.second(now, perSecond[0])],
      candidate: [candidate.second(now, perSecond[1])],
    };
    judgement = foldBlock(judgement, block, now * 1000, defaultRollout.analysis);
    if (now % ARMS_EVERY_S > 0) continue;
    judgement = withArms(judgement, {
      serving: [serving.sofar(now)],
      candidate: [candidate.sofar(now)],
    });
    if (isRefuted(judgement)) return now;
  }
  return undefined;
}

describe("requests that hang", () => {
  it("count once each, when they are seen to and not again when they end", () => {
    let ahead = 0;
    const counts = [
      [0, 2],
      [0, 3],
      [1, 2],
      [0, 0],
      [2, 0],
      [1, 0],
    ].map(([ended = 0, waiting = 0]) => {
      const next = countAhead(ended, waiting, ahead);
      ahead = next.ahead;
      return next.counted;
    });
    // Two, a third; one ends; the others end before their records are there; one nobody saw wait.
    assert.deepEqual(counts, [2, 1, 0, 0, 0, 1]);
  });

  it("are part of the quantiles of their release", () => {
    const half = withWaiting(
      arm(2, { ...BASELINE, timed: 4, unanswered: Array<number>(6).fill(9_000) }),
    );
    assert.equal(half.timed, 10);
    assert.equal(half.quantiles[100], 9_000);
    assert.ok((half.quantiles[78] ?? 0) <= 30);
    const none = arm(2, { unanswered: [3_000, 5_000] });
    assert.deepEqual([withWaiting(none).timed, withWaiting(none).quantiles[200]], [2, 5_000]);
    assert.equal(withWaiting(BASELINE), BASELINE);
  });

  it("refute a candidate long before anything ends, also one that answers nobody", () => {
    const some = play(new SeededRandom(3), [90, 10], [0, 0.3]) ?? Infinity;
    assert.ok(some <= 12, `after ${some} s`);
    const all = play(new SeededRandom(4), [90, 10], [0, 1]) ?? Infinity;
    assert.ok(all <= 11, `after ${all} s`);
  });

  it("blame no candidate whose requests hang as often as those of what serves", () => {
    for (const perSecond of [
      [90, 10],
      [5, 5],
      [3, 1],
    ] as [number, number][]) {
      let wrong = 0;
      for (let seed = 1; seed <= STORIES; seed += 1)
        if (play(new SeededRandom(seed), perSecond, [0.1, 0.1]) !== undefined) wrong += 1;
      // One in two hundred may be: two of sixty is more than chance does once in 27 times.
      assert.ok(wrong <= 1, `${wrong} of ${STORIES} at ${perSecond.join(" to ")}`);
    }
  });
});
