// Whether answers of a candidate that are slow become quicker: caches fill, programs are compiled. What
// is on its way down is no fault yet. It is seen by the mean of the logarithms of latencies, which says
// how many times as long answers take, against those of what serves over the same time.

import type { ArmCounts } from "../../../kernel/signal.ts";
import { SLICE_MS } from "./seen.ts";

interface Sums {
  readonly count: number;
  readonly sum: number;
  readonly squares: number;
}

interface Slice {
  readonly at: number;
  readonly serving: Sums;
  readonly candidate: Sums;
}

/** Newest last. */
export type Trend = readonly Slice[];

const SLICES = 6;
/** Answers became so much quicker between both halves: 8 %, and more than chance does. */
const FALL_MIN = 0.08;
const DEVIATIONS = 2;
/** Fewer answers in one half say nothing. */
const ANSWERS_MIN = 5;

const NONE: Sums = { count: 0, sum: 0, squares: 0 };

export function withTrend(
  before: Trend = [],
  arms: { readonly serving: ArmCounts; readonly candidate: ArmCounts },
  until: number,
): Trend {
  const at = Math.floor(until / SLICE_MS);
  const last = before.at(-1);
  const known = last?.at === at ? last : { at, serving: NONE, candidate: NONE };
  const next = {
    at,
    serving: plus(known.serving, sumsOf(arms.serving)),
    candidate: plus(known.candidate, sumsOf(arms.candidate)),
  };
  const rest = last?.at === at ? before.slice(0, -1) : before;
  return [...rest, next].filter((slice) => slice.at > at - SLICES);
}

export function isFalling(trend: Trend = []): boolean {
  const half = Math.floor(trend.length / 2);
  if (half === 0) return false;
  const [early, late] = [trend.slice(0, half), trend.slice(-half)].map((slices) => ({
    serving: slices.map(({ serving }) => serving).reduce(plus, NONE),
    candidate: slices.map(({ candidate }) => candidate).reduce(plus, NONE),
  }));
  if (!early || !late) return false;
  if (Math.min(early.candidate.count, late.candidate.count) < ANSWERS_MIN) return false;
  const fall = slowness(early) - slowness(late);
  const variance = [early, late]
    .flatMap(({ serving, candidate }) => [serving, candidate])
    .reduce((total, sums) => total + varianceOfMean(sums), 0);
  return fall > Math.max(FALL_MIN, DEVIATIONS * Math.sqrt(variance));
}

const slowness = (arms: { readonly serving: Sums; readonly candidate: Sums }): number =>
  meanOf(arms.candidate) - (arms.serving.count === 0 ? 0 : meanOf(arms.serving));

const sumsOf = ({ logMs }: ArmCounts): Sums => logMs ?? NONE;

const plus = (one: Sums, other: Sums): Sums => ({
  count: one.count + other.count,
  sum: one.sum + other.sum,
  squares: one.squares + other.squares,
});

const meanOf = ({ count, sum }: Sums): number => sum / Math.max(1, count);

function varianceOfMean(sums: Sums): number {
  if (sums.count < 2) return 0;
  const mean = meanOf(sums);
  return Math.max(0, sums.squares / sums.count - mean * mean) / (sums.count - 1);
}
