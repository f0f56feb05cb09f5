// Where a line of measurements goes, robustly. Pure.
//
// Method: the Theil–Sen estimator, the median of the slopes between all pairs of points (Theil 1950,
// Sen 1968): a third of the points may be outliers, such as a deploy's peak. With a season only pairs
// in the same part of it are compared, Mondays with Mondays (Hirsch, Slack and Smith 1982): a rhythm
// is no growth. The 90 % interval is Sen's, from the variance of Kendall's S; where it holds zero
// there is no trend to speak of. It assumes points that do not depend on each other, and that what
// grows goes on growing by as much.

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
export interface TrendOptions {
  /** Fewer say nothing. */
  readonly least?: number;
  /** How long a rhythm is, ms: only points that are whole rhythms apart are compared. */
  readonly seasonMs?: number;
}

/** Pairs grow with the square of the points: so many are 45,000 pairs. */
const MAX_POINTS = 300;
const Z_90 = 1.645;

/** Undefined where there is too little to compare. */
export function trendOf(
  given: readonly Point[],
  { least = LEAST_POINTS, seasonMs }: TrendOptions = {},
): Trend | undefined {
  const points = thinned(given.filter(({ value }) => Number.isFinite(value)));
  if (points.length < least) return undefined;
  const groups = Map.groupBy(points, ({ at }) => (seasonMs === undefined ? 0 : at % seasonMs));
  const slopes: number[] = [];
  let variance = 0;
  for (const group of groups.values()) {
    for (const [i, one] of group.entries())
      for (const other of group.slice(i + 1))
        slopes.push((other.value - one.value) / (other.at - one.at));
    variance += (group.length * (group.length - 1) * (2 * group.length + 5)) / 18;
  }
  if (slopes.length === 0) return undefined;
  slopes.sort((a, b) => a - b);
  const at = (rank: number): number =>
    slopes[Math.max(0, Math.min(slopes.length - 1, Math.round(rank)))] ?? 0;
  const margin = Z_90 * Math.sqrt(variance);
  const slope =
    (at(Math.floor((slopes.length - 1) / 2)) + at(Math.ceil((slopes.length - 1) / 2))) / 2;
  const last = points.at(-1)?.at ?? 0;
  const levels = points.map((one) => one.value + slope * (last - one.at)).sort((a, b) => a - b);
  return {
    level: levels[levels.length >> 1] ?? 0,
    slope,
    low: at((slopes.length - margin) / 2 - 1),
    high: at((slopes.length + margin) / 2),
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
