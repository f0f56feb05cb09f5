// Counts of one arm that wait for the other, added up.

import type { ArmCounts } from "../../../kernel/signal.ts";
import { NO_TALLY, plus } from "./seen.ts";
import type { Tally } from "./sequential-test.ts";

/** Of one arm: those of two blocks together. */
export function joined(
  one: ArmCounts | undefined,
  other: ArmCounts | undefined,
): ArmCounts | undefined {
  // What waits is told anew in each block.
  if (!other) return one && { ...one, unanswered: [] };
  if (!one) return other;
  // Before there were bounds to count at, how long answers took is not known.
  const isTimed = one.over.length === other.over.length;
  return {
    ...other,
    requests: one.requests + other.requests,
    errors: one.errors + other.errors,
    logErrors: one.logErrors + other.logErrors,
    timed: isTimed ? one.timed + other.timed : other.timed,
    over: isTimed ? one.over.map((count, level) => count + (other.over[level] ?? 0)) : other.over,
    ...(one.odd && other.odd && { odd: summed(one.odd, other.odd) }),
    ...(one.routes && other.routes && { routes: summed(one.routes, other.routes) }),
    ...(one.logMs &&
      other.logMs && {
        logMs: {
          count: one.logMs.count + other.logMs.count,
          sum: one.logMs.sum + other.logMs.sum,
          squares: one.logMs.squares + other.logMs.squares,
        },
      }),
  };
}

export function summed<Key extends string>(
  one: Readonly<Record<Key, Tally>>,
  other: Readonly<Record<Key, Tally>>,
): Record<Key, Tally> {
  const keys = [...new Set([...Object.keys(one), ...Object.keys(other)])] as Key[];
  return Object.fromEntries(
    keys.map((key) => [key, plus(one[key] ?? NO_TALLY, other[key] ?? NO_TALLY)]),
  ) as Record<Key, Tally>;
}
