// What is usual for a service at an hour of the week, and what departs from it. Pure.
//
// Method: the modified z-score of Iglewicz and Hoaglin (How to Detect and Handle Outliers, 1993):
// distance from the median over 1.4826 times the median absolute deviation. Medians, because one bad
// hour among the last weeks must not become usual. Their limit of 3.5 is for large samples; with n of
// them it is 3.5 (1 + 8/n), which by simulation names fewer than one ordinary hour in two hundred,
// also where hours vary by half (departures.test.ts). Requests and latency are judged by their
// logarithms: they vary by shares, not by amounts. Below the deviation there is a floor, where the
// past was so even that chance alone would be unusual: a count varies by its square root (Poisson),
// a share of n by √(p(1−p)/n) (binomial), and a tenth of anything is everyday.
//
// An hour is compared with the same hour of the week and those beside it; with the same of other days
// where fewer than three weeks are known; with all hours where fewer than five days are. In UTC.

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
const LIMIT_OF_FEW = 8;
const MAD_TO_SIGMA = 1.4826;
const EVERYDAY = 0.1;
/** Of fewer requests neither a share of errors nor a percentile says much. */
const LEAST_REQUESTS = 20;
const LATENCY_FLOOR_MS = 5;
const ERRORS_FLOOR = 0.001;
const LEAST_SAMPLES = 6;

/** How a measure is judged. */
interface Scale {
  readonly to: (value: number) => number;
  readonly from: (value: number) => number;
}
const LOGARITHMIC: Scale = { to: Math.log1p, from: Math.expm1 };
const LINEAR: Scale = { to: (value) => value, from: (value) => value };

type Measure = Departure["what"];

/** The past of one service: hour (ms since the epoch, its beginning) → what was counted. */
export type History = ReadonlyMap<number, HourSummary>;

/** Departures of one hour, at most one of each measure; empty also while there is too little past. */
export function departuresOf(hour: HourSummary, share: number, history: History): Departure[] {
  const past = comparable(hour.hour, history);
  if (past.length === 0) return [];
  const found: (Departure | undefined)[] = [
    judge("requests", hour, hour.requests / share, past, (one) => one.requests, LOGARITHMIC, {
      floor: (usual) => Math.max(EVERYDAY, 1 / Math.sqrt(Math.max(usual, 1) * share)),
      isBelowToo: true,
    }),
  ];
  if (hour.requests >= LEAST_REQUESTS) {
    const busy = past.filter(({ requests }) => requests >= LEAST_REQUESTS);
    found.push(
      judge("errors", hour, ratioOf(hour), busy, ratioOf, LINEAR, {
        floor: (usual) => {
          const p = Math.max(usual, ERRORS_FLOOR);
          return Math.max(EVERYDAY * usual, Math.sqrt((p * (1 - p)) / hour.requests));
        },
        isBelowToo: false,
      }),
      judge("p95", hour, hour.p95Ms, busy, (one) => one.p95Ms, LOGARITHMIC, {
        floor: (usual) => Math.max(EVERYDAY, LATENCY_FLOOR_MS / Math.max(usual, 1)),
        isBelowToo: false,
      }),
    );
  }
  return found.filter((one) => one !== undefined);
}

const ratioOf = ({ requests, errors }: HourSummary): number =>
  requests === 0 ? 0 : errors / requests;

function comparable(hour: number, history: History): HourSummary[] {
  const back = (everyHours: number, count: number, beside: number): HourSummary[] =>
    Array.from({ length: count }, (_, i) => hour - (i + 1) * everyHours * HOUR_MS).flatMap((at) =>
      Array.from({ length: 2 * beside + 1 }, (_, k) => at + (k - beside) * HOUR_MS).flatMap(
        (one) => history.get(one) ?? [],
      ),
    );
  const isKnown = (everyHours: number, count: number): boolean =>
    history.has(hour - count * everyHours * HOUR_MS);
  if (isKnown(WEEK_HOURS, LEAST_WEEKS)) return back(WEEK_HOURS, WEEKS, 1);
  if (isKnown(DAY_HOURS, LEAST_DAYS)) return back(DAY_HOURS, WEEKS * 7, 1);
  return isKnown(1, LEAST_HOURS) ? back(1, WEEK_HOURS, 0) : [];
}

function judge(
  what: Measure,
  { hour, environment, app, service }: HourSummary,
  value: number,
  past: readonly HourSummary[],
  measure: (one: HourSummary) => number,
  scale: Scale,
  how: { readonly floor: (usual: number) => number; readonly isBelowToo: boolean },
): Departure | undefined {
  if (past.length < LEAST_SAMPLES) return undefined;
  const values = past.map((one) => scale.to(measure(one)));
  const center = median(values);
  const usual = scale.from(center);
  const spread = MAD_TO_SIGMA * median(values.map((one) => Math.abs(one - center)));
  const sigma = Math.max(spread, how.floor(usual));
  const limit = LIMIT * (1 + LIMIT_OF_FEW / past.length);
  const score = (scale.to(value) - center) / sigma;
  if (Math.abs(score) <= limit || (score < 0 && !how.isBelowToo)) return undefined;
  const low = Math.max(0, scale.from(center - limit * sigma));
  const high = scale.from(center + limit * sigma);
  return { hour, environment, app, service, what, value, usual, low, high, score };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const [below = 0, at = 0] = [sorted[middle - 1], sorted[middle]];
  return sorted.length % 2 === 1 ? at : (below + at) / 2;
}
