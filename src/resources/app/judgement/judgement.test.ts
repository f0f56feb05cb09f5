import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ArmCounts, OddAnswer } from "../../../kernel/signal.ts";
import { defaultRollout } from "../rollout-policy.ts";
import { findingsOf } from "./findings.ts";
import { beginJudgement, foldBlock, type Judgement, withArms, withDesign } from "./judgement.ts";

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
const oddOf = (total: number, bad: Partial<Record<OddAnswer, number>>) => ({
  redirects: { total, bad: bad.redirects ?? 0 },
  refusals: { total, bad: bad.refusals ?? 0 },
  small: { total, bad: bad.small ?? 0 },
  large: { total, bad: bad.large ?? 0 },
});
const LIMITS = defaultRollout.analysis;
const isRefuted = (judgement: Judgement): boolean =>
  findingsOf(judgement, defaultRollout.analysis, 1).certain.length > 0;

/** One request in each second, every tenth of them to the candidate, which fails them all. */
function judged(seconds: number): Judgement {
  let judgement = beginJudgement(0, { arms: [arm(1, 600, 0)] });
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
      beginJudgement(0, { arms: [] }),
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
    assert.deepEqual(second.expected["web"]?.rates["errors"], { total: 10, bad: 1 });
  });

  describe("of a minute with a hundred requests to each of both", () => {
    const BEFORE = {
      ...arm(1, 6_000, 6),
      timed: 6_000,
      quantiles: Array.from({ length: 201 }, (_, i) => 50 + i / 4),
      sizes: [2_000, 9_000] as const,
      odd: oddOf(6_000, {}),
      routes: { "GET /": { total: 5_900, bad: 6 }, "GET /small": { total: 100, bad: 0 } },
    };
    interface Second {
      readonly refusals?: number;
      readonly redirects?: number;
      readonly small?: number;
      readonly large?: number;
      readonly errors?: number;
      /** Of the three requests in ten seconds to the small route. */
      readonly route?: number;
    }
    /** 100 requests of each release in a second. */
    const armIn = (release: number, second: number, bad: Second): ArmCounts => {
      const hasSmall = second % 10 < 3;
      return {
        ...arm(release, 100, bad.errors ?? 0),
        odd: oddOf(100, bad),
        routes: {
          "GET /": { total: hasSmall ? 99 : 100, bad: 0 },
          ...(hasSmall && { "GET /small": { total: 1, bad: bad.route ?? 0 } }),
        },
      };
    };
    const play = (seconds: number, candidate: (second: number) => Second, serving: Second = {}) => {
      let judgement = beginJudgement(0, { arms: [BEFORE], share: 0.5 });
      const total = { serving: 0, candidate: 0 };
      for (let second = 1; second <= seconds; second += 1) {
        const own = candidate(second);
        total.serving += serving.errors ?? 0;
        total.candidate += own.errors ?? 0;
        const block = {
          serving: [armIn(1, second, serving)],
          candidate: [armIn(2, second, own)],
        };
        judgement = foldBlock(judgement, block, second * 1_000, LIMITS);
        judgement = withArms(judgement, {
          serving: [arm(1, second * 100, total.serving)],
          candidate: [arm(2, second * 100, total.candidate)],
        });
        const { certain } = findingsOf(judgement, LIMITS, 2);
        if (certain.length > 0) return { at: second, text: certain[0]?.text ?? "", judgement };
      }
      return { at: undefined, text: "", judgement };
    };

    for (const [what, bad, text] of [
      ["refuses everybody", { refusals: 100 }, /100.0 % of \d+ requests were refused/],
      ["redirects everybody", { redirects: 100 }, /100.0 % of \d+ requests were redirected/],
      ["answers with next to nothing", { small: 100 }, /far smaller than usual/],
      ["fails on a small route", { route: 1 }, /GET \/small: 100.0 % of \d+ requests/],
    ] as const)
      it(`is against a candidate that ${what}`, () => {
        const found = play(120, () => bad);
        assert.match(found.text, text);
      });

    it("only asks where answers are far larger, which may be meant", () => {
      const { at, judgement } = play(60, () => ({ large: 100 }));
      assert.equal(at, undefined);
      const { possible } = findingsOf(judgement, LIMITS, 2);
      assert.match(possible[0]?.text ?? "", /far larger than usual/);
      assert.ok((possible[0]?.odds ?? 0) > 1_000);
    });

    it("is not against one that is as odd as what serves", () => {
      const odd = { refusals: 20, redirects: 30, small: 2, large: 10 };
      assert.equal(play(60, () => odd, odd).at, undefined);
    });

    it("sees a fault that begins in minute ten as soon as one that begins at once", () => {
      const faulty = { errors: 5 };
      const early = play(60, () => faulty).at ?? assert.fail("not seen");
      const late =
        play(660, (second) => (second > 600 ? faulty : {})).at ?? assert.fail("not seen");
      assert.ok(late - 600 <= early + 6, `${early} s, and ${late - 600} s`);
      assert.match(
        play(660, (second) => (second > 600 ? faulty : {})).text,
        /in the last \d+ s failed/,
      );
    });

    it("asks where what serves fails as well, and did not before", () => {
      const { at, judgement } = play(60, () => ({ errors: 10 }), { errors: 10 });
      assert.equal(at, undefined, "it is no worse than what serves");
      const { possible } = findingsOf(judgement, LIMITS, 2);
      assert.match(possible[0]?.text ?? "", /what serves fails more than before/);
    });
  });

  it("asks where fewer requests come to it than were drawn for it", () => {
    const clients = { clusters: 500, total: 4_000, totalSquared: 48_000 };
    const sums = { ...clients, bad: 0, badTotal: 0, badSquared: 0 };
    const begun = withDesign(beginJudgement(0, { arms: [], share: 0.1 }), [
      { ...arm(1, 4_000, 0), clustering: { errors: [sums], slow: [] } },
    ]);
    const askedAt = (candidate: number): readonly string[] => {
      const arms = { serving: [arm(1, 3_600, 0)], candidate: [arm(2, candidate, 0)] };
      return findingsOf(withArms(begun, arms), LIMITS, 1).possible.map(({ text }) => text);
    };
    assert.deepEqual(askedAt(400), []);
    assert.deepEqual(askedAt(340), [], "twelve requests by client: this may be chance");
    assert.match(askedAt(100)[0] ?? "", /2.7 % of 3700 requests came to it, 10.0 % were drawn/);
  });
});
