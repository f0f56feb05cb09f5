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
const HALF = SLICES / 2;
/**
 * Answers become so much quicker in half a minute, and more than chance does. Where the first minutes
 * of what serves are not known, the candidate may have such too: less is enough.
 */
const FALLS = {
  known: { least: 0.05, deviations: 2 },
  unknown: { least: 0.02, deviations: 1 },
} as const;
/** Fewer answers say nothing. */
const ANSWERS_MIN = 10;
const VARIANCE_MIN = 1e-6;

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

/** By the line through the slices, each by how exactly it is known (weighted least squares). */
export function isFalling(trend: Trend = [], firstMinutes: keyof typeof FALLS = "known"): boolean {
  const known = trend.filter(({ candidate }) => candidate.count > 0);
  const answers = known.reduce((sum, { candidate }) => sum + candidate.count, 0);
  if (known.length < 2 || answers < ANSWERS_MIN) return false;
  const variance = varianceWithin(known.flatMap(({ serving, candidate }) => [serving, candidate]));
  const points = known.map(({ at, serving, candidate }) => {
    const [usual, each] = serving.count === 0 ? [0, 0] : [meanOf(serving), 1 / serving.count];
    return {
      at,
      slowness: meanOf(candidate) - usual,
      weight: 1 / Math.max(VARIANCE_MIN, variance * (1 / candidate.count + each)),
    };
  });
  const sum = (of: (point: (typeof points)[number]) => number): number =>
    points.reduce((total, point) => total + point.weight * of(point), 0);
  const middle = sum(({ at }) => at) / sum(() => 1);
  const across = sum(({ at }) => (at - middle) ** 2);
  const fall = (-HALF * sum(({ at, slowness }) => (at - middle) * slowness)) / across;
  const { least, deviations } = FALLS[firstMinutes];
  return fall > Math.max(least, (deviations * HALF) / Math.sqrt(across));
}

const sumsOf = ({ logMs }: ArmCounts): Sums => logMs ?? NONE;

const plus = (one: Sums, other: Sums): Sums => ({
  count: one.count + other.count,
  sum: one.sum + other.sum,
  squares: one.squares + other.squares,
});

const meanOf = ({ count, sum }: Sums): number => sum / Math.max(1, count);

/** Of single answers around the mean of their slice. */
function varianceWithin(slices: readonly Sums[]): number {
  const degrees = slices.reduce((sum, { count }) => sum + Math.max(0, count - 1), 0);
  const squares = slices.reduce(
    (sum, one) => sum + Math.max(0, one.squares - one.sum * meanOf(one)),
    0,
  );
  return degrees === 0 ? 0 : squares / degrees;
}
