import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ArmCounts } from "../../../kernel/signal.ts";
import { defaultRollout } from "../rollout-policy.ts";
import { beginJudgement, findingsOf, foldBlock, type Judgement, withArms } from "./judgement.ts";

const arm = (release: number, requests: number, errors: number): ArmCounts => ({
  service: "web",
  release,
  requests,
  errors,
  logErrors: 0,
  timed: requests - errors,
  over: [],
  quantiles: [],
});
const LIMITS = defaultRollout.analysis;
const isRefuted = (judgement: Judgement): boolean =>
  findingsOf(judgement, defaultRollout.analysis, 1).certain.length > 0;

/** One request in each second, every tenth of them to the candidate, which fails them all. */
function judged(seconds: number): Judgement {
  let judgement = beginJudgement(0, [arm(1, 600, 0)]);
  const seen = { serving: 0, candidate: 0 };
  for (let second = 1; second <= seconds; second += 1) {
    const isCandidate = second % 10 === 0;
    if (isCandidate) seen.candidate += 1;
    else seen.serving += 1;
    const block = isCandidate
      ? { serving: [], candidate: [arm(2, 1, 1)] }
      : { serving: [arm(1, 1, 0)], candidate: [] };
    judgement = foldBlock(judgement, block, second * 1_000, LIMITS);
  }
  const { serving, candidate } = seen;
  return withArms(judgement, {
    serving: [arm(1, serving, 0)],
    candidate: [arm(2, candidate, candidate)],
  });
}

describe("a judgement", () => {
  it("compares seconds that have requests of one release only with those that have the other's", () => {
    assert.equal(isRefuted(judged(10)), false, "one bad answer says nothing");
    assert.equal(isRefuted(judged(60)), true, "six out of six say enough");
  });

  it("keeps what waits, once, and counts nothing twice", () => {
    const first = foldBlock(
      beginJudgement(0, []),
      { serving: [arm(1, 5, 1)], candidate: [] },
      1,
      LIMITS,
    );
    assert.equal(first.waiting?.["web"]?.serving?.requests, 5);
    assert.equal(
      first.expected["web"],
      undefined,
      "it is not expected of what is compared with it",
    );
    const block = { serving: [arm(1, 5, 0)], candidate: [arm(2, 1, 0)] };
    const second = foldBlock(first, block, 2, LIMITS);
    assert.deepEqual(second.waiting, {});
    assert.deepEqual(second.expected["web"]?.errors, { total: 10, bad: 1 });
  });
});
