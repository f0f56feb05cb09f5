// What one test of a rollout has found so far, and when that is certain.
//
// Requests are not independent: clients come back, pages ask ten times, trouble comes in bursts. So
// evidence counts for less by the design effect, which is how much more the outcomes of what serves
// vary from client to client, or from ten seconds to ten seconds, than independent ones would (J. Rao,
// A. Scott, "A simple method for the analysis of clustered binary data", Biometrics 48, 1992). What
// comes more rarely than that can be known from is not waited for, but a single burst is no proof:
// without the strongest eight seconds there has to be some evidence too.

import type { ClusterSums } from "../../../kernel/signal.ts";
import { type Evidence, logEvidence } from "./sequential-test.ts";

export interface TestState {
  /** One for each null hypothesis; all of them have to be refuted. */
  readonly nulls: readonly Evidence[];
  readonly burst?: Burst;
}

/** Evidence by windows of four seconds, as logarithms. */
interface Burst {
  /** Number of the window. */
  readonly at: number;
  /** Evidence when it began. */
  readonly from: number;
  /** What the window before it brought, and the two in a row that brought most. */
  readonly before: number;
  readonly most: number;
}

const WINDOW_MS = 4_000;
/** Of what is asked for, so much has to be there without the strongest two windows. */
const REST = 1 / 3;

export const logOf = ({ nulls }: TestState): number =>
  nulls.length === 0 ? 0 : Math.min(...nulls.map(logEvidence));

/** Takes in the evidence after a block that ended then (ms). */
export function withNulls(
  before: TestState | undefined,
  nulls: readonly Evidence[],
  until: number,
): TestState {
  const at = Math.floor(until / WINDOW_MS);
  const known = before?.burst;
  const log = before ? logOf(before) : 0;
  if (!known) return { nulls, burst: { at, from: 0, before: 0, most: 0 } };
  if (known.at === at) return { nulls, burst: known };
  const ended = log - known.from;
  return {
    nulls,
    burst: {
      at,
      from: log,
      before: known.at === at - 1 ? ended : 0,
      most: Math.max(known.most, known.before + ended, ended),
    },
  };
}

/** Evidence without its strongest two windows in a row. */
function restOf(state: TestState): number {
  const log = logOf(state);
  if (!state.burst) return log;
  const { from, before, most } = state.burst;
  const own = log - from;
  return log - Math.max(most, before + own, own);
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
