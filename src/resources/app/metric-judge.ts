// Figures that an app names itself. One that is told as bad of total is tested like errors are; any
// other is held against its limits, and fails after some looks in a row beyond one: a threshold that
// is looked at often enough is crossed by chance.

import type { MetricState, Rollout } from "./app.ts";
import type { MetricReading } from "./app-observed.ts";
import { FALSE_ALARMS } from "./judgement/findings.ts";
import { type Both, NO_TALLY, plus, withSeen } from "./judgement/seen.ts";
import { compareBlock, type Tally } from "./judgement/sequential-test.ts";
import {
  evidenceBefore,
  isCertain,
  type Moment,
  type TestState,
  withNulls,
} from "./judgement/test-state.ts";
import type { AppMetric, RolloutPolicy } from "./rollout-policy.ts";

const STRIKES = 3;
const EFFECTS = [0.01, 0.03, 0.1, 0.3, 0.9] as const;

export function foldMetrics(
  rollout: Rollout,
  { analysis }: RolloutPolicy,
  readings: Readonly<Record<string, MetricReading>> | undefined,
  now: number,
): Rollout {
  if (!readings || !rollout.judgement) return rollout;
  const metrics: Record<string, MetricState> = { ...rollout.metrics };
  const tests = { ...rollout.judgement.tests };
  for (const metric of analysis.metrics) {
    const reading = readings[metric.name];
    if (!reading) continue;
    const before = metrics[metric.name];
    // Of another stage nothing counts in this one.
    const own = before?.since === rollout.judgement.since ? before : undefined;
    const totals = reading.tallies && plusPair(own?.totals, reading.tallies);
    const seen = totals ? { ...reading, ...ratesOf(totals) } : reading;
    const beyond = beyondOf(metric, seen);
    const state: MetricState = {
      at: now,
      candidate: seen.candidate,
      serving: seen.serving,
      strikes: beyond === undefined ? 0 : (before?.strikes ?? 0) + 1,
      text: beyond ?? reading.problem ?? textOf(metric, seen),
      since: rollout.judgement.since,
      ...(reading.through !== undefined && { through: reading.through }),
      ...(totals && { totals }),
    };
    metrics[metric.name] = state;
    if (!reading.tallies) continue;
    // With little of it, what only one of the two has waits for the other.
    const block = plusPair(own?.waiting, reading.tallies);
    if (block.candidate.total === 0 || block.serving.total === 0) {
      metrics[metric.name] = { ...state, waiting: block };
      continue;
    }
    const plannedMs = rollout.judgement.plannedMs ?? 0;
    const key = `metric ${metric.name}`;
    tests[key] = foldTally(tests[key], block, { until: now, plannedMs });
  }
  return { ...rollout, metrics, judgement: { ...rollout.judgement, tests } };
}

function foldTally(before: TestState | undefined, block: Both, moment: Moment): TestState {
  const known = before?.seen?.whole[0]?.serving ?? NO_TALLY;
  const rate = (known.bad + 0.5) / (known.total + 1);
  const alternatives = EFFECTS.map((effect) => rate + effect * (1 - rate));
  const evidence = evidenceBefore(before, 0, EFFECTS.length, moment);
  const nulls = [compareBlock(evidence, block, rate, alternatives)];
  return {
    ...withNulls(before, nulls, moment.until),
    seen: withSeen(before?.seen, [block], moment.until),
  };
}

type Pair = NonNullable<MetricState["totals"]>;

const plusPair = (one: Pair | undefined, other: Pair): Pair => ({
  candidate: plus(one?.candidate ?? NO_TALLY, other.candidate),
  serving: plus(one?.serving ?? NO_TALLY, other.serving),
});

const ratesOf = ({ candidate, serving }: Pair) => {
  const rate = ({ total, bad }: Tally): number | null => (total === 0 ? null : bad / total);
  return { candidate: rate(candidate), serving: rate(serving) };
};

const textOf = ({ name }: AppMetric, { candidate, serving }: MetricReading): string =>
  `${name} is ${candidate ?? "unknown"}, ${serving ?? "unknown"} of what serves`;

function beyondOf(metric: AppMetric, reading: MetricReading): string | undefined {
  const { candidate, serving } = reading;
  const { max, min, relative } = metric;
  if (candidate === null) return undefined;
  const text = textOf(metric, reading);
  if (max !== undefined && candidate > max) return `${text}; at most ${max} is let pass`;
  if (min !== undefined && candidate < min) return `${text}; at least ${min} is wanted`;
  if (relative !== undefined && serving !== null && candidate > serving * relative)
    return `${text}; at most ${relative} times that is let pass`;
  return undefined;
}

/** In words, where a figure of the app speaks against the candidate. */
export function metricTrouble(
  { metrics = {}, judgement, stages }: Rollout,
  { analysis }: RolloutPolicy,
): string | undefined {
  const level = FALSE_ALARMS / Math.max(1, stages.length * analysis.metrics.length);
  for (const { name } of analysis.metrics) {
    const state = metrics[name];
    if (!state || state.strikes === 0) continue;
    const test = judgement?.tests[`metric ${name}`];
    if (test === undefined ? state.strikes >= STRIKES : isCertain(test, level)) return state.text;
  }
  return undefined;
}
