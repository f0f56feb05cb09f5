// Intervals that hold at every look at once: confidence sequences, not the usual intervals, which
// are right for one look only.
//
// Source: the beta-binomial mixture of H. Robbins (Annals of Mathematical Statistics 41, 1970), with
// the prior Beta(1/2, 1/2). The interval holds every proportion that the mixture does not refute.
// One for a quantile follows from it: the share of answers below the quantile is a proportion.

export interface Interval {
  readonly low: number;
  readonly high: number;
}

const PRIOR = 0.5;
const BISECTIONS = 40;

/** Of `total` outcomes `bad` were bad: the proportions that this does not speak against. */
export function proportionInterval(bad: number, total: number, alpha = 0.05): Interval {
  if (total === 0) return { low: 0, high: 1 };
  const mixture = logBeta(bad + PRIOR, total - bad + PRIOR) - logBeta(PRIOR, PRIOR);
  const isRefuted = (p: number): boolean =>
    mixture - (xlog(bad, p) + xlog(total - bad, 1 - p)) >= -Math.log(alpha);
  const seen = bad / total;
  return {
    low: bad === 0 ? 0 : edge(0, seen, isRefuted),
    high: bad === total ? 1 : edge(1, seen, isRefuted),
  };
}

/**
 * The levels between whose empirical quantiles the true one lies: of `total` answers, for the
 * quantile `level`.
 */
export function quantileLevels(level: number, total: number, alpha = 0.05): Interval {
  if (total === 0) return { low: 0, high: 1 };
  // Proportions below the true quantile that are in keeping with its level.
  const isFar = (share: number): boolean => {
    const { low, high } = proportionInterval(Math.round(share * total), total, alpha);
    return level < low || level > high;
  };
  return { low: edge(0, level, isFar), high: edge(1, level, isFar) };
}

// Between `from`, which is refuted, and `to`, which is not.
function edge(from: number, to: number, isRefuted: (p: number) => boolean): number {
  if (!isRefuted(from)) return from;
  let [out, inside] = [from, to];
  for (let i = 0; i < BISECTIONS; i += 1) {
    const middle = (out + inside) / 2;
    if (isRefuted(middle)) out = middle;
    else inside = middle;
  }
  return inside;
}

const xlog = (count: number, p: number): number => (count === 0 ? 0 : count * Math.log(p));

/** Natural logarithm of the beta function. */
export const logBeta = (a: number, b: number): number =>
  logGamma(a) + logGamma(b) - logGamma(a + b);

/** Stirling's series with the recurrence for small arguments; to ten digits. */
function logGamma(x: number): number {
  if (x < 8) return logGamma(x + 1) - Math.log(x);
  const inverse = 1 / (x * x);
  const series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse / 1680))) / x;
  return (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + series;
}
