// Requests that hang. A client that waits has no record yet, but how long it waits already is known:
// what waits for longer than a bound is slow, however it will end. It is counted as such when it is
// seen to wait, and not again when it ends.

import { type ArmCounts, QUANTILE_STEPS } from "../../../kernel/signal.ts";
import type { Tally } from "./sequential-test.ts";

export interface Ahead<Counted> {
  readonly counted: Counted;
  /** Requests among all that were counted so far that have not ended. */
  readonly ahead: number;
}

/**
 * How many requests have become slow since the last count.
 *
 * @param ended  slow ones that ended since then
 * @param waiting  those that wait, and are slow
 * @param ahead  those that were counted before they ended, as the last count told
 */
export function countAhead(ended: number, waiting: number, ahead: number): Ahead<number> {
  return {
    counted: Math.max(0, ended + waiting - ahead),
    // One that has ended meanwhile without a record being there is still to be told from a new one.
    ahead: Math.max(waiting, ahead - ended),
  };
}

/** The same at each bound, as what was timed and what of it is slow. */
export function countSlow(
  arm: ArmCounts,
  bounds: readonly number[],
  ahead: readonly number[] = [],
): readonly Ahead<Tally>[] {
  return arm.over.map((ended, level) => {
    const waiting = olderThan(arm.unanswered, bounds[level]);
    const { counted: bad, ahead: next } = countAhead(ended, waiting, ahead[level] ?? 0);
    return { counted: { total: arm.timed - ended + bad, bad }, ahead: next };
  });
}

export const olderThan = (ages: readonly number[] = [], bound = Infinity): number =>
  ages.filter((age) => age >= bound).length;

/** Takes what waits for answers of its age, which it is at least. */
export function withWaiting(arm: ArmCounts): ArmCounts {
  const ages = arm.unanswered ?? [];
  if (ages.length === 0) return arm;
  const weight = arm.timed / Math.max(1, arm.quantiles.length);
  const values = [
    ...arm.quantiles.map((ms) => ({ ms, weight })),
    ...ages.map((ms) => ({ ms, weight: 1 })),
  ].sort((one, other) => one.ms - other.ms);
  const total = arm.timed + ages.length;
  return { ...arm, timed: total, quantiles: quantilesOf(values, total) };
}

function quantilesOf(
  values: readonly { readonly ms: number; readonly weight: number }[],
  total: number,
): number[] {
  let at = 0;
  let passed = values[0]?.weight ?? 0;
  return Array.from({ length: QUANTILE_STEPS + 1 }, (_, step) => {
    const level = (step / QUANTILE_STEPS) * total;
    // A hair less: sums of fractions fall short of whole numbers.
    while (at < values.length - 1 && passed < level - 1e-6) {
      at += 1;
      passed += values[at]?.weight ?? 0;
    }
    return values[at]?.ms ?? 0;
  });
}
