// What the requests of a rollout say about its candidate. State is folded block by block, each
// request counted once, so that a control plane that was killed goes on where it was.
//
// Per service several things are tested against what serves, over the same minutes: errors, requests
// that logged an error, answers that are odd, each route by itself, and slow answers. What the app's
// policy lets pass is part of what is tested: that the candidate's errors are at most so many points
// more, and at most so many times those of what serves; that its answers are beyond a quantile of what
// serves, moved by the limit, at most as often. So a candidate within its limits is not refuted,
// however often one looks. What speaks against it in the end: findings.ts.

import { type ArmCounts, LATENCY_LEVELS as LEVELS, ODD_ANSWERS } from "../../../kernel/signal.ts";
import { joined, summed } from "./arm-counts.ts";
import { type ArmSummary, quantileOf, summaryOf } from "./arms.ts";
import {
  type Limits,
  MEASURES,
  marginsOf,
  ROUTE_LIMITS,
  ROUTES_MAX,
  unusualSizes,
} from "./measures.ts";
import { type Both, NO_BOTH, NO_TALLY, plus, plusBoth, withSeen } from "./seen.ts";
import {
  compareBlock,
  type Evidence,
  letPass,
  type Margin,
  type Tally,
} from "./sequential-test.ts";
import {
  designEffect,
  evidenceBefore,
  type Moment,
  type TestState,
  withNulls,
} from "./test-state.ts";
import { type Trend, withTrend } from "./trend.ts";
import { type Ahead, countSlow, withWaiting } from "./unanswered.ts";

/** Of the state; another one is not gone on with. */
export const FORMAT = 4;
const ODDS = [1.5, 3, 10] as const;
const ERROR_EFFECTS = [0.01, 0.03, 0.06, 0.1, 0.3, 0.9] as const;
/** What quantiles of before weigh against what is seen. */
const PRIOR_WEIGHT = 100;
/** Fewer timed answers say nothing of quantiles. */
const TIMED_MIN = 30;

/** What is expected of what serves, from what was seen of it. */
interface Expected {
  /** Measure → how many, and how many of them bad. */
  readonly rates: Readonly<Record<string, Tally>>;
  /** Route → the same before the step. */
  readonly routes: Readonly<Record<string, Tally>>;
  readonly over: readonly Tally[];
}

export interface Judgement {
  readonly format?: number;
  /** ms since the epoch: requests that ended after it are judged. */
  readonly since: number;
  /** Requests that ended up to then are counted. */
  readonly through: number;
  /** Of all requests, those that are drawn for the candidate. */
  readonly share?: number;
  /** How long the stage is to take, ms. */
  readonly plannedMs?: number;
  /** Service → the serving release's latency at LEVELS, ms. */
  readonly bounds: Readonly<Record<string, readonly number[]>>;
  /** The same in the first minutes that it had any requests, where that is known. */
  readonly cold?: Readonly<Record<string, readonly number[]>>;
  /** Service → bytes below and above which an answer is far smaller or larger than usual. */
  readonly sizes?: Readonly<Record<string, readonly [number, number]>>;
  /** Service → requests before the step, and how many of them failed. */
  readonly before?: Readonly<Record<string, Tally>>;
  readonly expected: Readonly<Record<string, Expected>>;
  /** Service → requests of one release that wait for some of the other to be compared with. */
  readonly waiting?: Readonly<Record<string, Pair>>;
  /** Service → requests that count as slow at LEVELS before they end. */
  readonly ahead?: Readonly<Record<string, Record<keyof Pair, readonly number[]>>>;
  /** `errors web` → what was found against the candidate. */
  readonly tests: Readonly<Record<string, TestState>>;
  /** Service → route → the same of each route. */
  readonly routes?: Readonly<Record<string, Readonly<Record<string, TestState>>>>;
  /** `errors web` → how many times more the outcomes of what serves vary than independent ones. */
  readonly design?: Readonly<Record<string, number>>;
  /** Service → how many times more the numbers of requests by client vary than independent ones. */
  readonly crowding?: Readonly<Record<string, number>>;
  readonly arms: Readonly<
    Record<string, { readonly serving: ArmSummary; readonly candidate: ArmSummary }>
  >;
}

export interface Block {
  readonly serving: readonly ArmCounts[];
  readonly candidate: readonly ArmCounts[];
}

interface Pair {
  readonly serving?: ArmCounts;
  readonly candidate?: ArmCounts;
}

type Arms = Required<Pair>;

export interface Baseline {
  /** The serving release before the step, with quantiles. */
  readonly arms: readonly ArmCounts[];
  /** The same in the first minutes that it had requests. */
  readonly cold?: readonly ArmCounts[];
  /** Of all requests, those that are drawn for the candidate. */
  readonly share?: number;
  /** How long the step is to take, ms. */
  readonly plannedMs?: number;
  /** Service → how quick answers were up to now, of the step before. */
  readonly trends?: Trends;
}

export type Trends = Readonly<Record<string, Trend>>;

/** Begins to judge a step. */
export function beginJudgement(
  since: number,
  { arms, cold = [], share, plannedMs, trends = {} }: Baseline,
): Judgement {
  const bounds = boundsOf(arms);
  return {
    format: FORMAT,
    since,
    through: since,
    ...(share !== undefined && { share }),
    ...(plannedMs !== undefined && { plannedMs }),
    bounds,
    cold: boundsOf(cold),
    sizes: Object.fromEntries(
      arms.flatMap(({ service, sizes }) => (sizes ? [[service, unusualSizes(sizes)]] : [])),
    ),
    before: Object.fromEntries(
      arms.map(({ service, requests, errors }) => [service, { total: requests, bad: errors }]),
    ),
    expected: Object.fromEntries(
      arms.map((arm) => [arm.service, expectedOf(arm, bounds[arm.service] !== undefined)]),
    ),
    tests: Object.fromEntries(
      Object.entries(trends).map(([service, trend]) => [
        `latency ${service}`,
        { nulls: [], trend },
      ]),
    ),
    arms: {},
  };
}

/** For the next step: what was getting quicker goes on to. */
export const trendsOf = ({ tests, arms }: Judgement): Trends =>
  Object.fromEntries(
    Object.keys(arms).flatMap((service) => {
      const trend = tests[`latency ${service}`]?.trend;
      return trend ? [[service, trend]] : [];
    }),
  );

const boundsOf = (arms: readonly ArmCounts[]): Record<string, number[]> =>
  Object.fromEntries(
    arms
      .filter(({ timed }) => timed >= TIMED_MIN)
      .map(({ service, quantiles }) => [service, ownBounds(quantiles)]),
  );

const ownBounds = (quantiles: readonly number[]): number[] =>
  LEVELS.map((level) => Math.round(quantileOf(quantiles, level)));

/**
 * Bounds for the next block: service → release → ms.
 *
 * @param isFresh  the candidate has had requests for no longer than `cold` tells of
 */
export function boundsFor(
  { bounds, cold = {} }: Judgement,
  serving: number,
  candidate: number,
  { latency }: Pick<Limits, "latency">,
  isFresh = false,
): Record<string, Record<number, number[]>> {
  return Object.fromEntries(
    Object.entries(bounds).map(([service, own]) => {
      const first = isFresh ? cold[service] : undefined;
      const from = first ? own.map((ms, level) => Math.max(ms, first[level] ?? ms)) : own;
      return [service, { [serving]: [...own], [candidate]: candidateBounds(from, latency) }];
    }),
  );
}

/** Slower than this is beyond both limits. */
const candidateBounds = (
  bounds: readonly number[],
  { absolute, relative }: Limits["latency"],
): number[] => bounds.map((ms) => Math.ceil(Math.max(ms + absolute, ms * relative)));

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
  const next = {
    tests: { ...judgement.tests },
    expected: { ...judgement.expected },
    ahead: { ...judgement.ahead },
    routes: { ...judgement.routes },
  };
  const moment = { until, plannedMs: judgement.plannedMs ?? 0 };
  const waiting: Record<string, Pair> = {};
  const services = [...block.serving, ...block.candidate].map(({ service }) => service);
  for (const service of new Set([...Object.keys(judgement.waiting ?? {}), ...services])) {
    const before = judgement.waiting?.[service];
    const serving = joined(before?.serving, armOf(block.serving, service));
    const candidate = joined(before?.candidate, armOf(block.candidate, service));
    const bounds = judgement.bounds[service] ?? [];
    const ahead = next.ahead[service];
    const slow = {
      serving: serving ? countSlow(serving, bounds, ahead?.serving) : [],
      candidate: candidate
        ? countSlow(candidate, candidateBounds(bounds, limits.latency), ahead?.candidate)
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
    const arms = { serving, candidate };
    const known = next.expected[service] ?? NOTHING;
    Object.assign(next.tests, foldMeasures(next.tests, service, arms, known, moment, limits));
    const test = `latency ${service}`;
    next.tests[test] = foldLatency(next.tests[test], arms, slow, known, moment);
    next.routes[service] = foldRoutes(next.routes[service], arms, known, moment);
    next.ahead[service] = {
      serving: slow.serving.map((one) => one.ahead),
      candidate: slow.candidate.map((one) => one.ahead),
    };
    next.expected[service] = added(known, serving, slow.serving);
  }
  return { ...judgement, ...next, through: until, waiting };
}

function foldMeasures(
  tests: Judgement["tests"],
  service: string,
  { serving, candidate }: Arms,
  known: Expected,
  moment: Moment,
  limits: Limits,
): Record<string, TestState> {
  const folded: Record<string, TestState> = {};
  for (const { name, tally, limits: which } of MEASURES) {
    const [own, other] = [tally(serving), tally(candidate)];
    if (!own || !other) continue;
    const test = `${name} ${service}`;
    const both = { serving: own, candidate: other };
    const margins = marginsOf(limits[which]);
    folded[test] = foldRate(tests[test], both, known.rates[name], moment, margins);
  }
  return folded;
}

// Each route by itself: one that fails wholly may be a small part of all. Those that were seen first
// are tested, whatever came of them; each waits until both releases had some of it.
function foldRoutes(
  before: Readonly<Record<string, TestState>> = {},
  { serving, candidate }: Arms,
  known: Expected,
  moment: Moment,
): Record<string, TestState> {
  const routes = { ...before };
  const names = new Set([serving, candidate].flatMap(({ routes = {} }) => Object.keys(routes)));
  for (const route of names) {
    const state = routes[route];
    if (!state && Object.keys(routes).length >= ROUTES_MAX) continue;
    const both = plusBoth(state?.waiting ?? NO_BOTH, {
      serving: serving.routes?.[route] ?? NO_TALLY,
      candidate: candidate.routes?.[route] ?? NO_TALLY,
    });
    if (both.serving.total === 0 || both.candidate.total === 0) {
      routes[route] = { ...(state ?? { nulls: [] }), waiting: both };
      continue;
    }
    const { waiting: _, ...own } = state ?? { nulls: [] };
    const expected = plus(known.routes[route] ?? NO_TALLY, own.seen?.whole[0]?.serving ?? NO_TALLY);
    routes[route] = foldRate(own, both, expected, moment, marginsOf(ROUTE_LIMITS));
  }
  return routes;
}

function foldRate(
  before: TestState | undefined,
  both: Both,
  known: Tally | undefined,
  moment: Moment,
  margins: readonly Margin[],
): TestState {
  const rate = rateOf(known ?? NO_TALLY);
  const nulls = margins.map((margin, index) => {
    const from = letPass(rate, margin);
    const alternatives = ERROR_EFFECTS.map((effect) => from + effect * (1 - from));
    const evidence = evidenceBefore(before, index, alternatives.length, moment);
    return compareBlock(evidence, both, rate, alternatives, margin);
  });
  return {
    ...withNulls(before, nulls, moment.until),
    seen: withSeen(before?.seen, [both], moment.until),
  };
}

/** Takes up how the outcomes of what serves vary; of `clusterings`, the most counts. */
export function withDesign(judgement: Judgement, serving: readonly ArmCounts[]): Judgement {
  const design: Record<string, number> = { ...judgement.design };
  const crowding: Record<string, number> = { ...judgement.crowding };
  for (const { service, clustering } of serving) {
    if (!clustering) continue;
    const { odd } = clustering;
    const errors = Math.max(1, ...clustering.errors.map(designEffect));
    design[`errors ${service}`] = errors;
    // Which request logged one is known by its trace only: like errors, they come from what fails.
    design[`log errors ${service}`] = errors;
    for (const what of ODD_ANSWERS)
      design[`${what} ${service}`] = Math.max(1, ...(odd?.[what] ?? []).map(designEffect));
    design[`routes ${service}`] = Math.max(errors, design[`refusals ${service}`] ?? 1);
    design[`latency ${service}`] = Math.max(1, ...clustering.slow.flat().map(designEffect));
    const [clients] = clustering.errors;
    if (clients && clients.clusters >= CLIENTS_MIN)
      crowding[service] = Math.max(1, clients.totalSquared / Math.max(1, clients.total));
  }
  return { ...judgement, design, crowding };
}

/** Of fewer clients it is not known how many requests one has. */
const CLIENTS_MIN = 10;

type SlowCounts = readonly Ahead<Tally>[];

/** Nothing ended, and nothing was seen to hang that was not before. */
const isSilent = ({ requests }: ArmCounts, slow: SlowCounts): boolean =>
  requests === 0 && slow.every(({ counted }) => counted.bad === 0);

const armOf = (arms: readonly ArmCounts[], service: string): ArmCounts | undefined =>
  arms.find((arm) => arm.service === service);

// Slow at each level, with some alternatives each: its odds are so many times those of what serves.
function foldLatency(
  before: TestState | undefined,
  arms: Arms,
  slow: Record<keyof Pair, SlowCounts>,
  known: Expected,
  moment: Moment,
): TestState {
  const start = evidenceBefore(before, 0, LEVELS.length * ODDS.length, moment);
  const levels: Both[] = [];
  const evidence = LEVELS.flatMap((_, level): Evidence => {
    const own = start.slice(level * ODDS.length, (level + 1) * ODDS.length);
    const [serving, candidate] = [slow.serving[level], slow.candidate[level]];
    const expected = known.over[level];
    if (!serving || !candidate || !expected) return own;
    const both = { serving: serving.counted, candidate: candidate.counted };
    levels.push(both);
    const rate = rateOf(expected);
    const alternatives = ODDS.map((times) => (times * rate) / (1 - rate + times * rate));
    return compareBlock(own, both, rate, alternatives);
  });
  return {
    ...withNulls(before, [evidence], moment.until),
    seen: withSeen(before?.seen, levels, moment.until),
    trend: withTrend(before?.trend, arms, moment.until),
  };
}

/** Takes up what the whole step looks like so far; arms come with quantiles. */
export function withArms(judgement: Judgement, block: Block): Judgement {
  const [serving, candidate] = [block.serving.map(withWaiting), block.candidate.map(withWaiting)];
  const bounds = { ...judgement.bounds };
  const sizes = { ...judgement.sizes };
  const expected = { ...judgement.expected };
  const arms: Record<string, { serving: ArmSummary; candidate: ArmSummary }> = {};
  for (const one of serving) {
    const { service } = one;
    const other = candidate.find((arm) => arm.service === service);
    arms[service] = { serving: summaryOf(one), candidate: summaryOf(other) };
    // A service that was at rest before: slow is what is slow from now on.
    if (bounds[service] === undefined && one.timed >= TIMED_MIN) {
      bounds[service] = ownBounds(one.quantiles);
      const { over } = expectedOf(one, true);
      expected[service] = { ...(expected[service] ?? NOTHING), over };
    }
    if (sizes[service] === undefined && one.sizes && one.timed >= TIMED_MIN)
      sizes[service] = unusualSizes(one.sizes);
  }
  for (const other of candidate)
    arms[other.service] ??= { serving: summaryOf(undefined), candidate: summaryOf(other) };
  return { ...judgement, bounds, sizes, expected, arms };
}

export const candidateRequests = ({ arms }: Judgement): number =>
  Object.values(arms).reduce((sum, { candidate }) => sum + candidate.requests, 0);

// --- tallies

const NOTHING: Expected = { rates: {}, routes: {}, over: [] };

const rateOf = ({ total, bad }: Tally): number => (bad + 0.5) / (total + 1);

function ratesOf(arm: ArmCounts): Record<string, Tally> {
  return Object.fromEntries(
    MEASURES.flatMap(({ name, tally }) => {
      const counted = tally(arm);
      return counted ? [[name, counted]] : [];
    }),
  );
}

function expectedOf(arm: ArmCounts, isTimed: boolean): Expected {
  return {
    rates: ratesOf(arm),
    routes: arm.routes ?? {},
    over: isTimed
      ? LEVELS.map((level) => ({ total: PRIOR_WEIGHT, bad: PRIOR_WEIGHT * (1 - level) }))
      : [],
  };
}

function added(before: Expected, arm: ArmCounts, slow: SlowCounts): Expected {
  return {
    rates: summed(before.rates, ratesOf(arm)),
    // Each route keeps count by itself.
    routes: before.routes,
    over: before.over.map((tally, level) => {
      const counted = slow[level]?.counted;
      return counted ? plus(tally, counted) : tally;
    }),
  };
}
