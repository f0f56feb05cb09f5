// What a test has counted: in the whole stage, and in slices of its last minute. A fault that begins
// late is small in the whole and plain in the end of it.

import type { Tally } from "./sequential-test.ts";

export interface Both {
  readonly serving: Tally;
  readonly candidate: Tally;
}

interface Slice {
  /** Number of the slice. */
  readonly at: number;
  /** One for each level that is counted. */
  readonly levels: readonly Both[];
}

export interface Seen {
  readonly whole: readonly Both[];
  /** Newest last. */
  readonly slices: readonly Slice[];
}

export const SLICE_MS = 10_000;
const SLICES = 6;

export function withSeen(before: Seen | undefined, levels: readonly Both[], until: number): Seen {
  const at = Math.floor(until / SLICE_MS);
  const slices = before?.slices ?? [];
  const last = slices.at(-1);
  const next =
    last?.at === at
      ? [...slices.slice(0, -1), { at, levels: summed(last.levels, levels) }]
      : [...slices, { at, levels }];
  return {
    whole: summed(before?.whole ?? [], levels),
    slices: next.filter((slice) => slice.at > at - SLICES),
  };
}

export interface Window {
  readonly both: Both;
  /** The end of the stage that it is, in words; empty for all of it. */
  readonly says: string;
}

/** The whole stage, then ever shorter ends of it. */
export function windowsOf({ whole, slices }: Seen, level = 0): readonly Window[] {
  const ends = slices.map((_, index) => {
    const own = slices.slice(index);
    const both = own.reduce<Both>(
      (sum, one) => plusBoth(sum, one.levels[level] ?? NO_BOTH),
      NO_BOTH,
    );
    const seconds = ((own.at(-1)?.at ?? 0) - (own[0]?.at ?? 0) + 1) * (SLICE_MS / 1000);
    return { both, says: ` in the last ${seconds} s` };
  });
  return [{ both: whole[level] ?? NO_BOTH, says: "" }, ...ends];
}

export const NO_TALLY: Tally = { total: 0, bad: 0 };
export const NO_BOTH: Both = { serving: NO_TALLY, candidate: NO_TALLY };

export const plus = (one: Tally, other: Tally): Tally => ({
  total: one.total + other.total,
  bad: one.bad + other.bad,
});

export const plusBoth = (one: Both, other: Both): Both => ({
  serving: plus(one.serving, other.serving),
  candidate: plus(one.candidate, other.candidate),
});

function summed(one: readonly Both[], other: readonly Both[]): Both[] {
  return Array.from({ length: Math.max(one.length, other.length) }, (_, level) =>
    plusBoth(one[level] ?? NO_BOTH, other[level] ?? NO_BOTH),
  );
}
