// What is usual for a service at an hour of the week, and what departs from it. Pure.
//
// Method: the modified z-score of Iglewicz and Hoaglin (How to Detect and Handle Outliers, 1993):
// distance from the median over 1.4826 times the median absolute deviation, beyond 3.5. Medians,
// because one bad hour among the last weeks must not become usual. Below the deviation there is a
// floor, where the past was so even that chance alone would be unusual: a count varies by its square
// root (Poisson), a share of n by √(p(1−p)/n) (binomial), and a tenth of anything is everyday.
//
// An hour is compared with the same hour of the week; with the same hour of other days where fewer
// than three weeks are known; with all hours where fewer than five days are. Hours are UTC.

import type { Departure, HourSummary } from "../../kernel/signal.ts";

const HOUR_MS = 3_600_000;
const DAY_HOURS = 24;
const WEEK_HOURS = 7 * DAY_HOURS;
/** How far back an hour is compared. */
const WEEKS = 8;
const LEAST_WEEKS = 3;
const LEAST_DAYS = 5;
const LEAST_HOURS = 24;
const LIMIT = 3.5;
const MAD_TO_SIGMA = 1.4826;
const EVERYDAY = 0.1;
/** Of fewer requests neither a share of errors nor a percentile says much. */
const LEAST_REQUESTS = 20;
const LATENCY_FLOOR_MS = 5;
const ERRORS_FLOOR = 0.001;

type Measure = Departure["what"];

/** The past of one service: hour (ms since the epoch, its beginning) → what was counted. */
export type History = ReadonlyMap<number, HourSummary>;

/** Departures of one hour, at most one of each measure; empty also while there is too little past. */
export function departuresOf(hour: HourSummary, share: number, history: History): Departure[] {
  const past = comparable(hour.hour, history);
  if (past.length === 0) return [];
  const found: (Departure | undefined)[] = [
    judge("requests", hour, hour.requests / share, past, (one) => one.requests, {
      floor: (usual) => Math.sqrt(Math.max(usual, 1) / share),
      isBelowToo: true,
    }),
  ];
  if (hour.requests >= LEAST_REQUESTS) {
    const busy = past.filter(({ requests }) => requests >= LEAST_REQUESTS);
    found.push(
      judge("errors", hour, ratioOf(hour), busy, ratioOf, {
        floor: (usual) => {
          const p = Math.max(usual, ERRORS_FLOOR);
          return Math.sqrt((p * (1 - p)) / hour.requests);
        },
        isBelowToo: false,
      }),
      judge("p95", hour, hour.p95Ms, busy, (one) => one.p95Ms, {
        floor: () => LATENCY_FLOOR_MS,
        isBelowToo: false,
      }),
    );
  }
  return found.filter((one) => one !== undefined);
}

const ratioOf = ({ requests, errors }: HourSummary): number =>
  requests === 0 ? 0 : errors / requests;

function comparable(hour: number, history: History): HourSummary[] {
  const back = (everyHours: number, count: number): HourSummary[] =>
    Array.from({ length: count }, (_, i) => hour - (i + 1) * everyHours * HOUR_MS).flatMap(
      (at) => history.get(at) ?? [],
    );
  const weeks = back(WEEK_HOURS, WEEKS);
  if (weeks.length >= LEAST_WEEKS) return weeks;
  const days = back(DAY_HOURS, WEEKS * 7);
  if (days.length >= LEAST_DAYS) return days;
  const hours = back(1, WEEK_HOURS);
  return hours.length >= LEAST_HOURS ? hours : [];
}

function judge(
  what: Measure,
  { hour, environment, app, service }: HourSummary,
  value: number,
  past: readonly HourSummary[],
  measure: (one: HourSummary) => number,
  how: { readonly floor: (usual: number) => number; readonly isBelowToo: boolean },
): Departure | undefined {
  if (past.length < LEAST_WEEKS) return undefined;
  const values = past.map(measure);
  const usual = median(values);
  const spread = MAD_TO_SIGMA * median(values.map((one) => Math.abs(one - usual)));
  const sigma = Math.max(spread, how.floor(usual), EVERYDAY * usual);
  const score = (value - usual) / sigma;
  if (Math.abs(score) <= LIMIT || (score < 0 && !how.isBelowToo)) return undefined;
  const low = Math.max(0, usual - LIMIT * sigma);
  const high = usual + LIMIT * sigma;
  return { hour, environment, app, service, what, value, usual, low, high, score };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const [below = 0, at = 0] = [sorted[middle - 1], sorted[middle]];
  return sorted.length % 2 === 1 ? at : (below + at) / 2;
}
