// Figures that an app names itself. One that is told as bad of total is tested like errors are; any
// other is held against its limits, and fails after some looks in a row beyond one: a threshold that
// is looked at often enough is crossed by chance.

import type { MetricState, Rollout } from "./app.ts";
import type { MetricReading } from "./app-observed.ts";
import { FALSE_ALARMS } from "./judgement/judgement.ts";
import { compareBlock, logEvidence, noEvidence, type Tally } from "./judgement/sequential-test.ts";
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
  const expected = { ...rollout.judgement.expected };
  for (const metric of analysis.metrics) {
    const reading = readings[metric.name];
    if (!reading) continue;
    const beyond = beyondOf(metric, reading);
    metrics[metric.name] = {
      at: now,
      candidate: reading.candidate,
      serving: reading.serving,
      strikes: beyond === undefined ? 0 : (metrics[metric.name]?.strikes ?? 0) + 1,
      text: beyond ?? reading.problem ?? textOf(metric, reading),
    };
    if (!reading.tallies) continue;
    const key = `metric ${metric.name}`;
    const known = expected[key]?.errors ?? { total: 0, bad: 0 };
    const rate = (known.bad + 0.5) / (known.total + 1);
    const alternatives = EFFECTS.map((effect) => rate + effect * (1 - rate));
    tests[key] = compareBlock(
      tests[key] ?? noEvidence(EFFECTS.length),
      reading.tallies,
      rate,
      alternatives,
    );
    const { serving } = reading.tallies;
    const errors: Tally = { total: known.total + serving.total, bad: known.bad + serving.bad };
    expected[key] = { errors, logErrors: { total: 0, bad: 0 }, over: [] };
  }
  return { ...rollout, metrics, judgement: { ...rollout.judgement, tests, expected } };
}

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
    const evidence = judgement?.tests[`metric ${name}`];
    const isRefuted = evidence !== undefined && logEvidence(evidence) >= -Math.log(level);
    if (evidence === undefined ? state.strikes >= STRIKES : isRefuted) return state.text;
  }
  return undefined;
}
