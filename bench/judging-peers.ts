// The same requests as Kayenta and Argo Rollouts would judge them, by their documented defaults; written
// anew from the descriptions of their methods, without their code.

import type { Arms, Request } from "./judging-traffic.ts";

/** So long is one point of a metric. */
const POINT_S = 10;

/**
 * Kayenta (Netflix's judge): each metric's points of both releases are compared by the test of Mann
 * and Whitney at 98 %, with a tolerance of a quarter of the estimated shift; the score is the share of
 * metrics that pass. Below 75 at the end of a stage, or 95 at the end of the last, it fails.
 */
export function kayentaAborts(stages: readonly (Arms & { readonly seconds: number })[]): boolean {
  let since = 0;
  return stages.some((stage, index) => {
    const from = since;
    since += stage.seconds;
    const passed = METRICS.filter(
      (metric) =>
        !isHigh(
          pointsOf(stage.candidate, from, since, metric),
          pointsOf(stage.serving, from, since, metric),
        ),
    ).length;
    const score = (100 * passed) / METRICS.length;
    return score < (index === stages.length - 1 ? 95 : 75);
  });
}

/**
 * Argo Rollouts: the example of its documentation, a success rate of the candidate of at least 95 %,
 * asked every ten seconds; the fourth answer below it aborts.
 */
export function argoAborts(stages: readonly (Arms & { readonly seconds: number })[]): boolean {
  const ends = stages.reduce((sum, { seconds }) => sum + seconds, 0);
  const all = stages.flatMap(({ candidate }) => candidate);
  const rates = pointsOf(
    all,
    0,
    ends,
    shareOf(({ isError }) => isError),
  );
  return rates.filter((rate) => rate > 0.05).length > 3;
}

type Metric = (requests: readonly Request[]) => number | undefined;

const shareOf =
  (isBad: (one: Request) => boolean): Metric =>
  (requests) =>
    requests.length === 0 ? undefined : requests.filter(isBad).length / requests.length;

const quantile =
  (level: number): Metric =>
  (requests) => {
    const sorted = requests.map(({ ms }) => ms).toSorted((one, other) => one - other);
    return sorted[Math.floor(level * (sorted.length - 1))];
  };

const METRICS: readonly Metric[] = [
  shareOf(({ isError }) => isError),
  shareOf(({ isRefused }) => isRefused === true),
  quantile(0.5),
  quantile(0.95),
  quantile(0.99),
];

function pointsOf(
  requests: readonly Request[],
  from: number,
  to: number,
  metric: Metric,
): number[] {
  const points: number[] = [];
  for (let at = from; at < to; at += POINT_S) {
    const own = requests.filter(({ second }) => second >= at && second < at + POINT_S);
    const value = metric(own);
    if (value !== undefined) points.push(value);
  }
  return points;
}

const CONFIDENCE_Z = 2.326;
const TOLERANCE = 0.25;

/** By the interval of Hodges and Lehmann for the shift between both. */
function isHigh(candidate: readonly number[], serving: readonly number[]): boolean {
  const [m, n] = [candidate.length, serving.length];
  if (m === 0 || n === 0) return false;
  const shifts = candidate
    .flatMap((own) => serving.map((other) => own - other))
    .toSorted((one, other) => one - other);
  const estimate = shifts[Math.floor(shifts.length / 2)] ?? 0;
  const rank = Math.floor((m * n) / 2 - CONFIDENCE_Z * Math.sqrt((m * n * (m + n + 1)) / 12));
  const lower = shifts[Math.max(0, rank)] ?? 0;
  return lower > TOLERANCE * Math.abs(estimate);
}
