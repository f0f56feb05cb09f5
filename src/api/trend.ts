// Where a line of measurements goes, robustly. Pure.
//
// Method: the Theil–Sen estimator, the median of the slopes between all pairs of points (Theil 1950,
// Sen 1968): a third of the points may be outliers, such as a deploy's peak. Its 90 % interval is
// Sen's, from the variance of Kendall's S; where it holds zero there is no trend to speak of.
// Assumes that what grows goes on growing by as much in each hour: no seasons, no saturation.

export interface Point {
  /** ms since the epoch */
  readonly at: number;
  readonly value: number;
}

export interface Trend {
  /** Where the line is at the last point. */
  readonly level: number;
  /** Per millisecond: the estimate and its 90 % interval. */
  readonly slope: number;
  readonly low: number;
  readonly high: number;
}

export const LEAST_POINTS = 12;
/** Pairs grow with the square of the points: so many are 45,000 pairs. */
const MAX_POINTS = 300;
const Z_90 = 1.645;

/** Undefined where there are fewer than LEAST_POINTS points. */
export function trendOf(given: readonly Point[]): Trend | undefined {
  const points = thinned(given.filter(({ value }) => Number.isFinite(value)));
  const count = points.length;
  if (count < LEAST_POINTS) return undefined;
  const slopes: number[] = [];
  for (const [i, one] of points.entries())
    for (const other of points.slice(i + 1))
      if (other.at !== one.at) slopes.push((other.value - one.value) / (other.at - one.at));
  slopes.sort((a, b) => a - b);
  const at = (rank: number): number =>
    slopes[Math.max(0, Math.min(slopes.length - 1, Math.round(rank)))] ?? 0;
  const margin = Z_90 * Math.sqrt((count * (count - 1) * (2 * count + 5)) / 18);
  const slope =
    (at(Math.floor((slopes.length - 1) / 2)) + at(Math.ceil((slopes.length - 1) / 2))) / 2;
  const last = points.at(-1)?.at ?? 0;
  const levels = points.map((one) => one.value + slope * (last - one.at)).sort((a, b) => a - b);
  return {
    level: levels[levels.length >> 1] ?? 0,
    slope,
    low: at((slopes.length - margin) / 2),
    high: at((slopes.length + margin) / 2 + 1),
  };
}

function thinned(points: readonly Point[]): readonly Point[] {
  if (points.length <= MAX_POINTS) return points;
  const every = points.length / MAX_POINTS;
  return Array.from(
    { length: MAX_POINTS },
    (_, i) => points[Math.floor((i + 1) * every) - 1],
  ).filter((point) => point !== undefined);
}

/** ms from the last point until the line meets the limit, by a slope; undefined where it never does. */
export function msUntil(limit: number, { level }: Trend, slope: number): number | undefined {
  if (level >= limit) return 0;
  return slope > 0 ? (limit - level) / slope : undefined;
}
