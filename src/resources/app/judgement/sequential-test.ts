// Sequential tests of proportions that stay right however often one looks.
//
// Each is an e-process: a product of factors, one per block of observations, whose expectation under
// the null hypothesis never exceeds 1 whatever came before. By Ville's inequality it then exceeds
// 1/alpha at any time ever with a probability of at most alpha, so a decision may be taken at every
// look. Evidence is kept as logarithms, one per alternative; their mean with equal weights is an
// e-process again, so no alternative has to be chosen before the data is seen.
//
// Source: R. Turner, A. Ly, P. Grünwald, "Generic E-variables for exact sequential k-sample tests
// that allow for optional stopping" (Journal of Statistical Planning and Inference 230, 2024), the
// block-wise 2x2 case. The mixture over alternatives is the method of mixtures of H. Robbins
// (Annals of Mathematical Statistics 41, 1970).
//
// Assumed: within a block the outcomes of one arm are exchangeable and independent of those of the
// other; which arm a request goes to does not depend on how it will end. Where many requests stem
// from one client that meets the same fault again and again, evidence counts for more than it is.

/** Outcomes of one arm in a block: how many, and how many of them were bad. */
export interface Tally {
  readonly total: number;
  readonly bad: number;
}

/** Log e-values, one per alternative, in the order in which they are given. */
export type Evidence = readonly number[];

const PROBABILITY_MIN = 1e-4;
/** Below this an e-process has as good as no way back; it is kept from falling out of range. */
const LOG_MIN = -700;

export const noEvidence = (alternatives: number): Evidence => Array<number>(alternatives).fill(0);

/**
 * What the candidate may be worse by and still be as good: its proportion is at most `plus` more than,
 * or `times`, that of what serves.
 */
export type Margin = { readonly plus: number } | { readonly times: number };

export const NO_MARGIN: Margin = { plus: 0 };

/** The largest proportion of the candidate that is let pass. */
export const letPass = (serving: number, margin: Margin): number =>
  Math.min(1, "plus" in margin ? serving + margin.plus : serving * margin.times);

/**
 * One block more against "the candidate's proportion of bad outcomes is at most that of what serves,
 * with the margin": a convex null hypothesis, so that the likelihood ratio of an alternative to the
 * null nearest to it (in relative entropy, weighted by the sizes of both) has an expectation of at
 * most 1 everywhere in the null (Turner, Ly, Grünwald, theorem 2: the logarithm of that expectation
 * is concave, and falls from the nearest null into the null).
 *
 * @param serving  what is expected of the arm that serves, from what was seen before this block
 * @param alternatives  what might be true of the candidate instead; each above what is let pass
 */
export function compareBlock(
  before: Evidence,
  block: { readonly serving: Tally; readonly candidate: Tally },
  serving: number,
  alternatives: readonly number[],
  margin: Margin = NO_MARGIN,
): Evidence {
  const { serving: a, candidate: b } = block;
  if (a.total === 0 || b.total === 0) return before;
  const pa = clip(serving);
  return alternatives.map((alternative, index) => {
    const pb = clip(Math.max(alternative, letPass(pa, margin)));
    const na = nearestNull(a.total, b.total, pa, pb, margin);
    const nb = clip(letPass(na, margin));
    return bounded((before[index] ?? 0) + logRatio(a, pa, na) + logRatio(b, pb, nb));
  });
}

const BISECTIONS = 40;

/** The serving arm's proportion in the null hypothesis that is nearest to the alternative. */
function nearestNull(m: number, n: number, pa: number, pb: number, margin: Margin): number {
  if ("plus" in margin && margin.plus === 0) return (m * pa + n * pb) / (m + n);
  // The slope of the relative entropy along the border: below 0 at pa, above where the border meets pb.
  const step = "plus" in margin ? 1 : margin.times;
  const slope = (x: number): number => {
    const y = clip(letPass(x, margin));
    return (m * (x - pa)) / (x * (1 - x)) + (step * n * (y - pb)) / (y * (1 - y));
  };
  let low = pa;
  let high = clip("plus" in margin ? pb - margin.plus : pb / margin.times);
  if (high <= low) return low;
  for (let i = 0; i < BISECTIONS; i += 1) {
    const middle = (low + high) / 2;
    if (slope(middle) < 0) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/**
 * One block more against "the proportion of bad outcomes is at most `limit`": the likelihood ratio
 * of each alternative to the limit.
 */
export function exceedBlock(
  before: Evidence,
  block: Tally,
  limit: number,
  alternatives: readonly number[],
): Evidence {
  const p = clip(limit);
  return alternatives.map((alternative, index) =>
    bounded((before[index] ?? 0) + logRatio(block, clip(Math.max(alternative, p)), p)),
  );
}

/** Logarithm of the mean of the e-values. */
export function logEvidence(evidence: Evidence): number {
  if (evidence.length === 0) return 0;
  const max = Math.max(...evidence);
  const sum = evidence.reduce((total, one) => total + Math.exp(one - max), 0);
  return max + Math.log(sum / evidence.length);
}

/** True once the null hypothesis is refuted at the level `alpha`. */
export const refutes = (evidence: Evidence, alpha: number): boolean =>
  logEvidence(evidence) >= -Math.log(alpha);

const logRatio = ({ total, bad }: Tally, p: number, q: number): number =>
  bad * Math.log(p / q) + (total - bad) * Math.log((1 - p) / (1 - q));

const clip = (p: number): number => Math.min(1 - PROBABILITY_MIN, Math.max(PROBABILITY_MIN, p));
const bounded = (log: number): number => Math.max(LOG_MIN, log);
