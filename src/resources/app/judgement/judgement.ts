// What the requests of a rollout say about its candidate. State is folded block by block, each
// request counted once, so that a control plane that was killed goes on where it was.
//
// Per service three things are tested against what serves, over the same minutes: errors, requests
// that logged an error, and slow answers. What the app's policy lets pass is part of what is tested:
// that the candidate's errors are at most so many points more, and at most so many times those of what
// serves; that its answers are beyond a quantile of what serves, moved by the limit, at most as often.
// So a candidate within its limits is not refuted, however often one looks. What is shown has to be
// beyond the limits as well.

import { type ArmCounts, LATENCY_LEVELS as LEVELS } from "../../../kernel/signal.ts";
import type { AnalysisPolicy } from "../rollout-policy.ts";
import { type Interval, proportionInterval, quantileLevels } from "./interval.ts";
import {
  compareBlock,
  type Evidence,
  letPass,
  type Margin,
  noEvidence,
  type Tally,
} from "./sequential-test.ts";
import { designEffect, isCertain, logOf, type TestState, withNulls } from "./test-state.ts";
import { type Ahead, countSlow, withWaiting } from "./unanswered.ts";

/** Of all rollouts of releases that are as good, so many at most may be aborted by a test. */
export const FALSE_ALARMS = 0.005;
const ODDS = [1.5, 3] as const;
const ERROR_EFFECTS = [0.01, 0.03, 0.1, 0.3, 0.9] as const;
/** What quantiles of before weigh against what is seen. */
const PRIOR_WEIGHT = 100;
/** Fewer timed answers say nothing of quantiles. */
const TIMED_MIN = 30;
const SHOWN_LEVELS = { p50: 0.5, p95: 0.95, p99: 0.99 } as const;

export interface ArmSummary {
  readonly requests: number;
  readonly errors: number;
  readonly errorRate: Interval;
  readonly logErrors: number;
  readonly timed: number;
  readonly latency: Readonly<
    Record<keyof typeof SHOWN_LEVELS, Interval & { readonly ms: number }>
  > | null;
}

interface Expected {
  readonly errors: Tally;
  readonly logErrors: Tally;
  readonly over: readonly Tally[];
}

export interface Judgement {
  /** ms since the epoch: requests that ended after it are judged. */
  readonly since: number;
  /** Requests that ended up to then are counted. */
  readonly through: number;
  /** Service → the serving release's latency at LEVELS, ms. */
  readonly bounds: Readonly<Record<string, readonly number[]>>;
  readonly expected: Readonly<Record<string, Expected>>;
  /** Service → requests of one release that wait for some of the other to be compared with. */
  readonly waiting?: Readonly<Record<string, Pair>>;
  /** Service → requests that count as slow at LEVELS before they end. */
  readonly ahead?: Readonly<Record<string, Record<keyof Pair, readonly number[]>>>;
  /** `errors web` → what was found against the candidate. */
  readonly tests: Readonly<Record<string, TestState>>;
  /** `errors web` → how many times more the outcomes of what serves vary than independent ones. */
  readonly design?: Readonly<Record<string, number>>;
  readonly arms: Readonly<
    Record<string, { readonly serving: ArmSummary; readonly candidate: ArmSummary }>
  >;
}

export interface Finding {
  /** `errors web` */
  readonly test: string;
  readonly text: string;
  /** Evidence against the candidate to one; above 1/level it is refuted. */
  readonly odds: number;
}

export interface Block {
  readonly serving: readonly ArmCounts[];
  readonly candidate: readonly ArmCounts[];
}

/**
 * Begins to judge a step.
 *
 * @param baseline  the serving release before the step, with quantiles
 */
export function beginJudgement(since: number, baseline: readonly ArmCounts[]): Judgement {
  const bounds = Object.fromEntries(
    baseline
      .filter(({ timed }) => timed >= TIMED_MIN)
      .map(({ service, quantiles }) => [
        service,
        LEVELS.map((level) => Math.round(quantileOf(quantiles, level))),
      ]),
  );
  const expected = Object.fromEntries(
    baseline.map((arm) => [arm.service, expectedOf(arm, bounds[arm.service] !== undefined)]),
  );
  return { since, through: since, bounds, expected, tests: {}, arms: {} };
}

/** Bounds for the next block: service → release → ms. */
export function boundsFor(
  { bounds }: Judgement,
  serving: number,
  candidate: number,
  { latency }: Limits,
): Record<string, Record<number, number[]>> {
  return Object.fromEntries(
    Object.entries(bounds).map(([service, own]) => [
      service,
      { [serving]: [...own], [candidate]: candidateBounds(own, latency) },
    ]),
  );
}

export type Limits = Pick<AnalysisPolicy, "errors" | "latency">;

/** Slower than this is beyond both limits. */
const candidateBounds = (
  bounds: readonly number[],
  { absolute, relative }: Limits["latency"],
): number[] => bounds.map((ms) => Math.ceil(Math.max(ms + absolute, ms * relative)));

interface Pair {
  readonly serving?: ArmCounts;
  readonly candidate?: ArmCounts;
}

/**
 * Counts the requests that ended between `through` and `until`. Where only one of the two had any,
 * they wait for the next block: with little traffic a second rarely has some of both. Where a block
 * ends depends on how many requests there were, never on how they went, so the tests stay valid.
 */
export function foldBlock(
  judgement: Judgement,
  block: Block,
  until: number,
  limits: Limits,
): Judgement {
  const tests = { ...judgement.tests };
  const expected = { ...judgement.expected };
  const waiting: Record<string, Pair> = {};
  const ahead = { ...judgement.ahead };
  const services = [...block.serving, ...block.candidate].map(({ service }) => service);
  for (const service of new Set([...Object.keys(judgement.waiting ?? {}), ...services])) {
    const before = judgement.waiting?.[service];
    const serving = joined(before?.serving, armOf(block.serving, service));
    const candidate = joined(before?.candidate, armOf(block.candidate, service));
    const bounds = judgement.bounds[service] ?? [];
    const slow = {
      serving: serving ? countSlow(serving, bounds, ahead[service]?.serving) : [],
      candidate: candidate
        ? countSlow(candidate, candidateBounds(bounds, limits.latency), ahead[service]?.candidate)
        : [],
    };
    if (
      !serving ||
      !candidate ||
      isSilent(serving, slow.serving) ||
      isSilent(candidate, slow.candidate)
    ) {
      waiting[service] = { ...(serving && { serving }), ...(candidate && { candidate }) };
      continue;
    }
    const known = expected[service] ?? NOTHING;
    for (const [name, tally, before] of [
      ["errors", errorsOf, known.errors],
      ["log errors", logErrorsOf, known.logErrors],
    ] as const) {
      const test = `${name} ${service}`;
      const pair = { serving: tally(serving), candidate: tally(candidate) };
      const nulls = marginsOf(limits.errors).map((margin, index) =>
        foldErrors(tests[test]?.nulls[index], pair, rateOf(before), margin),
      );
      tests[test] = withNulls(tests[test], nulls, until);
    }
    const test = `latency ${service}`;
    const nulls = [foldLatency(tests[test]?.nulls[0], slow, known)];
    tests[test] = withNulls(tests[test], nulls, until);
    ahead[service] = {
      serving: slow.serving.map((one) => one.ahead),
      candidate: slow.candidate.map((one) => one.ahead),
    };
    expected[service] = added(known, serving, slow.serving);
  }
  return { ...judgement, through: until, tests, expected, waiting, ahead };
}

/** Beyond both limits, or not worse. */
const marginsOf = ({ absolute, relative }: Limits["errors"]): readonly Margin[] => [
  { plus: absolute / 100 },
  { times: relative },
];

function foldErrors(
  before: Evidence = noEvidence(ERROR_EFFECTS.length),
  block: Required<Record<keyof Pair, Tally>>,
  rate: number,
  margin: Margin,
): Evidence {
  const from = letPass(rate, margin);
  const alternatives = ERROR_EFFECTS.map((effect) => from + effect * (1 - from));
  return compareBlock(before, block, rate, alternatives, margin);
}

/** Takes up how the outcomes of what serves vary; of `clusterings`, the most counts. */
export function withDesign(judgement: Judgement, serving: readonly ArmCounts[]): Judgement {
  const design: Record<string, number> = { ...judgement.design };
  for (const { service, clustering } of serving) {
    if (!clustering) continue;
    const errors = Math.max(1, ...clustering.errors.map(designEffect));
    design[`errors ${service}`] = errors;
    // Which request logged one is known by its trace only: like errors, they come from what fails.
    design[`log errors ${service}`] = errors;
    design[`latency ${service}`] = Math.max(1, ...clustering.slow.flat().map(designEffect));
  }
  return { ...judgement, design };
}

type SlowCounts = readonly Ahead<Tally>[];

/** Nothing ended, and nothing was seen to hang that was not before. */
const isSilent = ({ requests }: ArmCounts, slow: SlowCounts): boolean =>
  requests === 0 && slow.every(({ counted }) => counted.bad === 0);

const armOf = (arms: readonly ArmCounts[], service: string): ArmCounts | undefined =>
  arms.find((arm) => arm.service === service);

function joined(one: ArmCounts | undefined, other: ArmCounts | undefined): ArmCounts | undefined {
  // What waits is told anew in each block.
  if (!other) return one && { ...one, unanswered: [] };
  if (!one) return other;
  // Before there were bounds to count at, how long answers took is not known.
  const isTimed = one.over.length === other.over.length;
  return {
    ...other,
    requests: one.requests + other.requests,
    errors: one.errors + other.errors,
    logErrors: one.logErrors + other.logErrors,
    timed: isTimed ? one.timed + other.timed : other.timed,
    over: isTimed ? one.over.map((count, level) => count + (other.over[level] ?? 0)) : other.over,
  };
}

// Slow at each level, with two alternatives each: its odds are so many times those of what serves.
function foldLatency(
  before: Evidence = noEvidence(LEVELS.length * ODDS.length),
  slow: Record<keyof Pair, SlowCounts>,
  known: Expected,
): Evidence {
  return LEVELS.flatMap((_, level) => {
    const [serving, candidate] = [slow.serving[level], slow.candidate[level]];
    const expected = known.over[level];
    const own = before.slice(level * ODDS.length, (level + 1) * ODDS.length);
    if (!serving || !candidate || !expected) return own;
    const rate = rateOf(expected);
    return compareBlock(
      own,
      { serving: serving.counted, candidate: candidate.counted },
      rate,
      ODDS.map((times) => (times * rate) / (1 - rate + times * rate)),
    );
  });
}

/** Takes up what the whole step looks like so far; arms come with quantiles. */
export function withArms(judgement: Judgement, block: Block): Judgement {
  const [serving, candidate] = [block.serving.map(withWaiting), block.candidate.map(withWaiting)];
  const bounds = { ...judgement.bounds };
  const expected = { ...judgement.expected };
  const arms: Record<string, { serving: ArmSummary; candidate: ArmSummary }> = {};
  for (const one of serving) {
    const { service } = one;
    const other = candidate.find((arm) => arm.service === service);
    arms[service] = { serving: summaryOf(one), candidate: summaryOf(other) };
    // A service that was at rest before: slow is what is slow from now on.
    if (bounds[service] === undefined && one.timed >= TIMED_MIN) {
      bounds[service] = LEVELS.map((level) => Math.round(quantileOf(one.quantiles, level)));
      const { over } = expectedOf(one, true);
      expected[service] = { ...(expected[service] ?? NOTHING), over };
    }
  }
  for (const other of candidate)
    arms[other.service] ??= { serving: summaryOf(undefined), candidate: summaryOf(other) };
  return { ...judgement, bounds, expected, arms };
}

/**
 * What speaks against the candidate: `certain` is refuted and beyond the policy's limits, `possible`
 * only beyond the limits.
 *
 * @param parts  among how many judgements of one rollout its false alarms are shared
 */
export function findingsOf(
  { tests, arms, design = {} }: Judgement,
  { errors, latency }: AnalysisPolicy,
  parts: number,
): { readonly certain: readonly Finding[]; readonly possible: readonly Finding[] } {
  const level = FALSE_ALARMS / Math.max(1, parts * Object.keys(tests).length);
  const findings = Object.entries(arms).flatMap(([service, { serving, candidate }]) =>
    [
      {
        test: `errors ${service}`,
        text: beyondRate(
          candidate.errors,
          candidate.requests,
          serving.errors,
          serving.requests,
          errors,
          "failed",
        ),
      },
      {
        test: `log errors ${service}`,
        text: beyondRate(
          candidate.logErrors,
          candidate.requests,
          serving.logErrors,
          serving.requests,
          errors,
          "logged an error",
        ),
      },
      { test: `latency ${service}`, text: beyondLatency(candidate, serving, latency) },
    ].flatMap(({ test, text }) => {
      if (text === undefined) return [];
      const state = tests[test] ?? { nulls: [] };
      const effect = design[test] ?? 1;
      const odds = Math.exp(logOf(state) / effect);
      const isProven = state.nulls.length > 0 && isCertain(state, level, effect);
      return [{ test, text: `${service}: ${text}`, odds, isProven }];
    }),
  );
  const plain = ({ test, text, odds }: Finding): Finding => ({ test, text, odds });
  return {
    certain: findings.filter(({ isProven }) => isProven).map(plain),
    possible: findings.filter(({ isProven }) => !isProven).map(plain),
  };
}

export const candidateRequests = ({ arms }: Judgement): number =>
  Object.values(arms).reduce((sum, { candidate }) => sum + candidate.requests, 0);

function beyondRate(
  bad: number,
  total: number,
  servingBad: number,
  servingTotal: number,
  limits: AnalysisPolicy["errors"],
  what: string,
): string | undefined {
  const rate = bad / Math.max(1, total);
  const serving = servingBad / Math.max(1, servingTotal);
  if (rate - serving <= limits.absolute / 100 || rate <= serving * limits.relative)
    return undefined;
  return `${percent(rate)} of ${total} requests ${what}, ${percent(serving)} of ${servingTotal} of what serves`;
}

function beyondLatency(
  { latency: candidate }: ArmSummary,
  { latency: serving }: ArmSummary,
  { absolute, relative }: AnalysisPolicy["latency"],
): string | undefined {
  if (!candidate || !serving) return undefined;
  const worse = Object.keys(SHOWN_LEVELS).filter((key) => {
    const [own, other] = [candidate[key as "p50"].ms, serving[key as "p50"].ms];
    return own - other > absolute && own > other * relative;
  }) as (keyof typeof SHOWN_LEVELS)[];
  if (worse.length === 0) return undefined;
  return worse
    .map(
      (key) =>
        `${key} is ${Math.round(candidate[key].ms)} ms, ${Math.round(serving[key].ms)} ms of what serves`,
    )
    .join("; ");
}

const percent = (rate: number): string =>
  `${(rate * 100).toFixed(rate > 0 && rate < 0.001 ? 3 : 1)} %`;

// --- tallies and summaries

const NOTHING: Expected = {
  errors: { total: 0, bad: 0 },
  logErrors: { total: 0, bad: 0 },
  over: [],
};

const errorsOf = ({ requests, errors }: ArmCounts): Tally => ({ total: requests, bad: errors });
const logErrorsOf = ({ requests, logErrors }: ArmCounts): Tally => ({
  total: requests,
  bad: Math.min(requests, logErrors),
});

const rateOf = ({ total, bad }: Tally): number => (bad + 0.5) / (total + 1);

function expectedOf(arm: ArmCounts, isTimed: boolean): Expected {
  return {
    errors: errorsOf(arm),
    logErrors: logErrorsOf(arm),
    over: isTimed
      ? LEVELS.map((level) => ({ total: PRIOR_WEIGHT, bad: PRIOR_WEIGHT * (1 - level) }))
      : [],
  };
}

function added(before: Expected, arm: ArmCounts, slow: SlowCounts): Expected {
  const plus = (one: Tally, other: Tally): Tally => ({
    total: one.total + other.total,
    bad: one.bad + other.bad,
  });
  return {
    errors: plus(before.errors, errorsOf(arm)),
    logErrors: plus(before.logErrors, logErrorsOf(arm)),
    over: before.over.map((tally, level) => {
      const counted = slow[level]?.counted;
      return counted ? plus(tally, counted) : tally;
    }),
  };
}

function summaryOf(arm: ArmCounts | undefined): ArmSummary {
  const { requests = 0, errors = 0, logErrors = 0, timed = 0, quantiles = [] } = arm ?? {};
  const at = (level: number): Interval & { ms: number } => {
    const { low, high } = quantileLevels(level, timed);
    return {
      ms: quantileOf(quantiles, level),
      low: quantileOf(quantiles, low, Math.floor),
      high: quantileOf(quantiles, high, Math.ceil),
    };
  };
  return {
    requests,
    errors,
    errorRate: proportionInterval(errors, requests),
    logErrors,
    timed,
    latency:
      quantiles.length === 0
        ? null
        : { p50: at(SHOWN_LEVELS.p50), p95: at(SHOWN_LEVELS.p95), p99: at(SHOWN_LEVELS.p99) },
  };
}

const quantileOf = (
  quantiles: readonly number[],
  level: number,
  toIndex: (position: number) => number = Math.round,
): number => quantiles[toIndex(level * (quantiles.length - 1))] ?? 0;
