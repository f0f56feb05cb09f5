// What speaks against a candidate, in words, and whether it is certain.

import type { AnalysisPolicy } from "../rollout-policy.ts";
import { type ArmSummary, SHOWN_LEVELS } from "./arms.ts";
import { differenceEvidence, sampleRatioEvidence } from "./asking-evidence.ts";
import type { Judgement } from "./judgement.ts";
import { MEASURES, type Measure, ROUTE_LIMITS, ROUTES_MAX } from "./measures.ts";
import { type Both, NO_BOTH, type Seen, type Window, windowsOf } from "./seen.ts";
import type { Tally } from "./sequential-test.ts";
import { isCertain, logOf, type TestState } from "./test-state.ts";
import { isFalling } from "./trend.ts";

/** Of all rollouts of releases that are as good, so many at most may be aborted by a test. */
export const FALSE_ALARMS = 0.005;
/** Evidence to one from which on a release may well be worse. */
export const DOUBT = 3;
/** The odds of being slow are so many times those of what serves, or it is not worse. */
const SLOW_ODDS = 1.5;
/** Slices. */
const HALF_MINUTE = 3;
/** A candidate that gets less than this of the requests that it was drawn for is asked about. */
const SHARE_MIN = 0.8;

/** Of the level, for each kind of test; what is asked for first gets most. */
const LEVEL_SHARES = { errors: 0.5, latency: 0.25, rest: 0.25 } as const;

type Levels = Readonly<Record<keyof typeof LEVEL_SHARES, number>>;

const levelKind = (test: string): keyof Levels =>
  test.startsWith("errors ") ? "errors" : test.startsWith("latency ") ? "latency" : "rest";

export interface Finding {
  /** `errors web` */
  readonly test: string;
  readonly text: string;
  /** Evidence against the candidate to one; above 1/level it is refuted. */
  readonly odds: number;
}

interface Suspicion extends Finding {
  readonly isProven: boolean;
  /** Of an end of the stage only, or of what may be meant: without evidence it is nothing. */
  readonly isWeak: boolean;
}

/**
 * What speaks against the candidate: `certain` is refuted and beyond the policy's limits, `possible`
 * only beyond the limits.
 *
 * @param parts  among how many judgements of one rollout its false alarms are shared
 */
export function findingsOf(
  judgement: Judgement,
  analysis: AnalysisPolicy,
  parts: number,
): { readonly certain: readonly Finding[]; readonly possible: readonly Finding[] } {
  const { tests, arms } = judgement;
  const kinds = Object.groupBy(Object.keys(tests), levelKind);
  const ofAll = FALSE_ALARMS / Math.max(1, parts);
  const level = (kind: keyof Levels, others = 0): number =>
    (ofAll * LEVEL_SHARES[kind]) / Math.max(1, (kinds[kind]?.length ?? 0) + others);
  // Routes of a service share one part of what is left.
  const rest = level("rest", Object.keys(arms).length);
  const levels = { errors: level("errors"), latency: level("latency"), rest };
  const all = Object.entries(arms).flatMap(([service, own]) => [
    ...MEASURES.flatMap((measure) => rateSuspicion(judgement, service, measure, analysis, levels)),
    ...routeSuspicion(judgement, service, levels.rest),
    ...latencySuspicion(judgement, service, own, levels.latency),
    ...shareSuspicion(judgement, service, own),
    ...dragSuspicion(judgement, service, analysis),
  ]);
  const plain = ({ test, text, odds }: Finding): Finding => ({ test, text, odds });
  return {
    certain: all.filter(({ isProven }) => isProven).map(plain),
    possible: all
      .filter(({ isProven, isWeak, odds }) => !isProven && (!isWeak || odds >= DOUBT))
      .map(plain),
  };
}

interface Strength {
  readonly level: number;
  readonly design?: number;
  readonly onlyAsks?: boolean;
}

function suspicion(
  test: string,
  text: string,
  state: TestState,
  { level, design = 1, onlyAsks = false }: Strength,
  isPart: boolean,
): Suspicion {
  const isProven = !onlyAsks && state.nulls.length > 0 && isCertain(state, level, design);
  const odds = Math.exp(logOf(state) / design);
  return { test, text, odds, isProven, isWeak: isPart || onlyAsks };
}

function rateSuspicion(
  { tests, design = {} }: Judgement,
  service: string,
  { name, says, of, limits, onlyAsks = false }: Measure,
  analysis: AnalysisPolicy,
  levels: Levels,
): Suspicion[] {
  const test = `${name} ${service}`;
  const level = levels[levelKind(test)];
  const state = tests[test];
  if (!state?.seen) return [];
  const window = windowsOf(state.seen).find(({ both }) => isBeyond(both, analysis[limits]));
  if (!window) return [];
  const strength = { level, design: design[test] ?? 1, onlyAsks };
  const text = `${service}: ${rates(window, of, says)}`;
  return [suspicion(test, text, state, strength, window.says !== "")];
}

// The routes share the level: each is tested as if all there may be were there.
function routeSuspicion(
  { routes = {}, design = {} }: Judgement,
  service: string,
  level: number,
): Suspicion[] {
  return Object.entries(routes[service] ?? {}).flatMap(([route, state]) => {
    const windows = state.seen ? windowsOf(state.seen) : [];
    const window = windows.find(({ both }) => isBeyond(both, ROUTE_LIMITS));
    if (!window) return [];
    const text = `${service} ${route}: ${rates(window, "requests", "failed or were refused")}`;
    const strength = { level: level / ROUTES_MAX, design: design[`routes ${service}`] ?? 1 };
    // One of twenty is soon beyond by chance: it takes evidence to say so.
    return [suspicion(`routes ${service}`, text, state, strength, true)];
  });
}

function isBeyond(
  { serving, candidate }: Both,
  { absolute, relative }: AnalysisPolicy["errors"],
): boolean {
  const [own, other] = [shareOf(candidate), shareOf(serving)];
  return own - other > absolute / 100 && own > other * relative;
}

const shareOf = ({ bad, total }: Tally): number => bad / Math.max(1, total);

function rates({ both, says: when }: Window, of: string, says: string): string {
  const { serving, candidate } = both;
  return `${percent(shareOf(candidate))} of ${candidate.total} ${of}${when} ${says}, ${percent(shareOf(serving))} of ${serving.total} of what serves`;
}

// By how many are slow, not by how slow: between two modes a quantile jumps from one to the other.
function latencySuspicion(
  { tests, design = {}, cold = {} }: Judgement,
  service: string,
  arms: { readonly serving: ArmSummary; readonly candidate: ArmSummary },
  level: number,
): Suspicion[] {
  const test = `latency ${service}`;
  const state = tests[test];
  if (!state?.seen) return [];
  const { seen } = state;
  const worst = seen.whole
    .flatMap((_, index) => windowsOf(seen, index))
    .map((window) => ({ window, odds: oddsRatio(window.both) }))
    .filter(({ odds }) => odds >= SLOW_ODDS)
    .toSorted(
      (one, other) =>
        Number(one.window.says !== "") - Number(other.window.says !== "") || other.odds - one.odds,
    )[0];
  if (!worst) return [];
  const isPart = worst.window.says !== "";
  const text = isPart
    ? rates(worst.window, "answers", "took longer than they may")
    : `${quantiles(arms)}${rates(worst.window, "answers", "took longer than they may")}`;
  const found = suspicion(
    test,
    `${service}: ${text}`,
    state,
    { level, design: design[test] ?? 1 },
    isPart,
  );
  // Caches fill and programs are compiled: what becomes quicker, or has, is no proof.
  if (!found.isProven) return [found];
  const isSlowStill = seen.whole.some(
    (_, index) => oddsRatio(lastHalfMinute(seen, index)) >= SLOW_ODDS,
  );
  const firstMinutes = cold[service] ? "known" : "unknown";
  if (isSlowStill && !isFalling(state.trend, firstMinutes)) return [found];
  const now = isSlowStill ? "becoming quicker" : "not in the last half minute";
  return [{ ...found, isProven: false, text: `${found.text}; ${now}` }];
}

const lastHalfMinute = (seen: Seen, index: number): Both => {
  const [, ...ends] = windowsOf(seen, index);
  return ends.at(-Math.min(HALF_MINUTE, ends.length))?.both ?? NO_BOTH;
};

function oddsRatio({ serving, candidate }: Both): number {
  const odds = ({ bad, total }: Tally): number => (bad + 0.5) / (total - bad + 0.5);
  return candidate.bad === 0 ? 0 : odds(candidate) / odds(serving);
}

function quantiles({
  serving: { latency: serving },
  candidate: { latency: candidate },
}: {
  readonly serving: ArmSummary;
  readonly candidate: ArmSummary;
}): string {
  if (!serving || !candidate) return "";
  const keys = Object.keys(SHOWN_LEVELS) as (keyof typeof SHOWN_LEVELS)[];
  const [most] = keys.toSorted(
    (one, other) =>
      candidate[other].ms / Math.max(1, serving[other].ms) -
      candidate[one].ms / Math.max(1, serving[one].ms),
  );
  if (!most) return "";
  return `${most} is ${Math.round(candidate[most].ms)} ms, ${Math.round(serving[most].ms)} ms of what serves: `;
}

// What is not asked for can't fail: where a candidate gets fewer requests than were drawn for it, a
// person is asked.
function shareSuspicion(
  { share, crowding = {} }: Judgement,
  service: string,
  { serving, candidate }: { readonly serving: ArmSummary; readonly candidate: ArmSummary },
): Suspicion[] {
  const design = crowding[service];
  const total = serving.requests + candidate.requests;
  if (share === undefined || design === undefined || total === 0) return [];
  if (candidate.requests / total >= share * SHARE_MIN) return [];
  const log = sampleRatioEvidence(candidate.requests, serving.requests, share, design);
  return [
    {
      test: `share ${service}`,
      text: `${service}: ${percent(candidate.requests / total)} of ${total} requests came to it, ${percent(share)} were drawn for it`,
      odds: Math.exp(log),
      isProven: false,
      isWeak: true,
    },
  ];
}

// A candidate that wears out what both share is as good as what serves, for that fails as well.
function dragSuspicion(
  { tests, before = {}, design = {} }: Judgement,
  service: string,
  { errors }: AnalysisPolicy,
): Suspicion[] {
  const test = `errors ${service}`;
  const [earlier, seen] = [before[service], tests[test]?.seen];
  if (!earlier || !seen) return [];
  const window = windowsOf(seen)
    .map(({ both, says }) => ({ now: both.serving, says }))
    .find(({ now }) => isBeyond({ candidate: now, serving: earlier }, errors));
  if (!window) return [];
  const { now, says } = window;
  return [
    {
      test: `before ${service}`,
      text: `${service}: what serves fails more than before this stage, too: ${percent(shareOf(now))} of ${now.total} requests${says}, ${percent(shareOf(earlier))} of ${earlier.total}`,
      odds: Math.exp(differenceEvidence(now, earlier) / (design[test] ?? 1)),
      isProven: false,
      isWeak: true,
    },
  ];
}

const percent = (rate: number): string =>
  `${(rate * 100).toFixed(rate > 0 && rate < 0.001 ? 3 : 1)} %`;
