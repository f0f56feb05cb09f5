// What one test of a rollout has found so far, and when that is certain.
//
// Requests are not independent: clients come back, pages ask ten times, trouble comes in bursts. So
// evidence counts for less by the design effect, which is how much more the outcomes of what serves
// vary from client to client, or from ten seconds to ten seconds, than independent ones would (J. Rao,
// A. Scott, "A simple method for the analysis of clustered binary data", Biometrics 48, 1992). What
// comes more rarely than that can be known from is not waited for, but a single burst is no proof:
// without the strongest eight seconds there has to be some evidence too.

import type { ClusterSums } from "../../../kernel/signal.ts";
import { type Both, type Seen, SLICE_MS } from "./seen.ts";
import { type Evidence, logEvidence } from "./sequential-test.ts";
import type { Trend } from "./trend.ts";

export interface TestState {
  /** One for each null hypothesis; all of them have to be refuted. */
  readonly nulls: readonly Evidence[];
  /** When it began (ms): the end of its first block. */
  readonly since?: number;
  /** Up to then (ms) it was begun anew. */
  readonly begunAt?: number;
  readonly burst?: Burst;
  readonly seen?: Seen;
  /** What is not compared yet, because one of the two had none. */
  readonly waiting?: Both;
  readonly trend?: Trend;
}

/** Evidence by windows of four seconds, as logarithms. */
interface Burst {
  /** Number of the window. */
  readonly at: number;
  /** Evidence when it began, and the least that there was when one began. */
  readonly from: number;
  readonly floor: number;
  /** What the window before it brought, and the two in a row that brought most since the least. */
  readonly before: number;
  readonly most: number;
}

/** Where a test is: the end of its next block, and how long its stage is to take (ms). */
export interface Moment {
  readonly until: number;
  readonly plannedMs: number;
}

const WINDOW_MS = 4_000;
/** Of what is asked for, so much has to be there without the strongest two windows. */
const REST = 1 / 10;

export const logOf = ({ nulls }: TestState): number =>
  nulls.length === 0 ? 0 : Math.min(...nulls.map(logEvidence));

/**
 * The evidence that a block is added to. A fault that begins in minute ten is not paid for with what
 * the nine minutes before said in favour: the test begins anew every ten seconds, and all that have
 * begun go on together, with weights that add up to one: the starts within the stage's time have as
 * much each. A mixture of e-processes is one again, and its product with the next block needs no more
 * to be kept than their sum.
 *
 * Source: J. Shin, A. Ramdas, A. Rinaldo, "E-detectors" (New England Journal of Statistics in Data
 * Science 2, 2024), with weights in place of a bound on how often it is wrong.
 */
export function evidenceBefore(
  state: TestState | undefined,
  index: number,
  alternatives: number,
  { until, plannedMs }: Moment,
): Evidence {
  const known = state?.nulls[index];
  if (!state || !known) return Array<number>(alternatives).fill(Math.log(FIRST_WEIGHT));
  const since = state.since ?? until;
  const begun = shareOfStarts((state.begunAt ?? since) - since, plannedMs);
  const weight = shareOfStarts(until - since, plannedMs) - begun;
  if (weight <= 0) return known;
  return known.map((log) => addLogs(log, Math.log(weight)));
}

/** Of the start with the first block, of those in the time that was planned, and of all others. */
const [FIRST_WEIGHT, PLANNED_WEIGHT, OTHERS_WEIGHT] = [0.6, 0.3, 0.1] as const;

/** Weight of all starts but the first up to then (ms since the first); it never exceeds 0.4. */
function shareOfStarts(ms: number, plannedMs: number): number {
  const slice = Math.floor(ms / SLICE_MS);
  const planned = Math.max(1, Math.floor(plannedMs / SLICE_MS));
  // An extended stage is longer than planned: the start at slice k has 1/(k (k + 1)) of the others.
  return PLANNED_WEIGHT * Math.min(1, slice / planned) + OTHERS_WEIGHT * (1 - 1 / (slice + 1));
}

const addLogs = (one: number, other: number): number => {
  const most = Math.max(one, other);
  return most + Math.log(Math.exp(one - most) + Math.exp(other - most));
};

/** Takes in the evidence after a block that ended then (ms). */
export function withNulls(
  before: TestState | undefined,
  nulls: readonly Evidence[],
  until: number,
): TestState {
  const after = { ...before, nulls, since: before?.since ?? until, begunAt: until };
  const at = Math.floor(until / WINDOW_MS);
  const known = before?.burst;
  const log = before ? logOf(before) : 0;
  if (!known) return { ...after, burst: { at, from: log, floor: log, before: 0, most: 0 } };
  if (known.at === at) return { ...after, burst: known };
  if (log <= known.floor)
    return { ...after, burst: { at, from: log, floor: log, before: 0, most: 0 } };
  const ended = log - known.from;
  return {
    ...after,
    burst: {
      at,
      from: log,
      floor: known.floor,
      before: known.at === at - 1 ? ended : 0,
      most: Math.max(known.most, known.before + ended, ended),
    },
  };
}

/** Evidence since there was least, without its strongest two windows in a row. */
function restOf(state: TestState): number {
  const log = logOf(state);
  if (!state.burst) return log;
  const { from, floor, before, most } = state.burst;
  const own = log - from;
  return log - floor - Math.max(most, before + own, own);
}

/**
 * Whether the null hypotheses are refuted at this level.
 *
 * @param design  how many times more outcomes vary than independent ones; at least 1
 */
export function isCertain(state: TestState, level: number, design = 1): boolean {
  const wanted = -Math.log(level) * Math.max(1, design);
  return logOf(state) >= wanted && restOf(state) >= wanted * REST;
}

/** Of fewer clusters no variance is known. */
const CLUSTERS_MIN = 10;

/** Variance of the proportion over clusters, by that of independent requests; at least 1. */
export function designEffect(sums: ClusterSums): number {
  const { clusters, total, bad, totalSquared, badTotal, badSquared } = sums;
  if (clusters < CLUSTERS_MIN || bad === 0 || bad === total) return 1;
  const p = bad / total;
  const residual = badSquared - 2 * p * badTotal + p * p * totalSquared;
  return Math.max(1, ((clusters / (clusters - 1)) * residual) / (total * p * (1 - p)));
}
