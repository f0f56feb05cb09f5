// Evidence that asks a person, and takes nothing back.
//
// Whether a candidate gets the requests that it was drawn for. Pages whose scripts break ask for
// nothing more, and what is not asked for can't fail: a release may look well because it drives its
// users away.
//
// Source: M. Lindon, A. Malek, "Anytime-valid inference for multinomial count data" (NeurIPS 2022):
// the counts' likelihood under a mixture of shares (here a beta prior around the drawn one) over that
// under the drawn share is an e-process.

import { logBeta } from "./interval.ts";
import { plus } from "./seen.ts";
import type { Tally } from "./sequential-test.ts";

/** The prior weighs as much as so many requests. */
const PRIOR = 20;

/**
 * Log evidence that the share of the candidate is another than it was drawn for.
 *
 * @param share  0 to 1
 * @param design  how many times more counts vary than those of independent requests; at least 1
 */
export function sampleRatioEvidence(
  candidate: number,
  serving: number,
  share: number,
  design: number,
): number {
  if (share <= 0 || share >= 1) return 0;
  const [k, n] = [candidate / design, (candidate + serving) / design];
  const [a, b] = [PRIOR * share, PRIOR * (1 - share)];
  return (
    logBeta(k + a, n - k + b) - logBeta(a, b) - k * Math.log(share) - (n - k) * Math.log(1 - share)
  );
}

/**
 * Log evidence that two proportions differ: the Bayes factor of two beta-binomial models to one for
 * both, with the prior Beta(1/2, 1/2).
 */
export function differenceEvidence(one: Tally, other: Tally): number {
  const model = ({ total, bad }: Tally): number =>
    logBeta(bad + 0.5, total - bad + 0.5) - logBeta(0.5, 0.5);
  return model(one) + model(other) - model(plus(one, other));
}
