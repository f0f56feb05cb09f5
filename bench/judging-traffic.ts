// Traffic that is not independent, for bench/judging.ts: clients that come back, pages that ask ten
// times, trouble in bursts, latencies with heavy tails or two modes; counted as telemetry counts it.

import { type ArmCounts, type ClusterSums, LATENCY_LEVELS } from "../src/kernel/signal.ts";
import type { SeededRandom } from "../test/support/virtual-clock.ts";

export interface Answer {
  readonly ms: number;
  readonly isError: boolean;
  /** Answered 4xx. */
  readonly isRefused?: boolean;
  readonly bytes?: number;
  readonly route?: string;
}

export interface Request extends Answer {
  readonly client: number;
  readonly second: number;
}

export interface Arms {
  readonly serving: Request[];
  readonly candidate: Request[];
}

/** Requests of one second; `share` of them to the candidate. */
export type Source = (second: number, share: number) => Arms;

/** What is wrong with a candidate's answers; the second counts from its first request. */
export type Fault = (answer: Answer, random: SeededRandom, second: number) => Answer;

export const AS_GOOD: Fault = (answer) => answer;

export const BASELINE_S = 600;
const SLICE_S = 10;
export const [SERVING, CANDIDATE] = [1, 2] as const;

export const normal = (random: SeededRandom): number =>
  Math.sqrt(-2 * Math.log(random.fraction() || 1e-12)) * Math.cos(2 * Math.PI * random.fraction());
export const lognormal = (random: SeededRandom, median: number, sigma: number): number =>
  median * Math.exp(sigma * normal(random));

export function poisson(mean: number, random: SeededRandom): number {
  if (mean > 60) return Math.max(0, Math.round(mean + Math.sqrt(mean) * normal(random)));
  let [product, count] = [random.fraction(), 0];
  for (const floor = Math.exp(-mean); product > floor; count += 1) product *= random.fraction();
  return count;
}

export interface Kind {
  readonly perSecond: number;
  /** Of a request, whose arm is known. */
  readonly draw: (
    random: SeededRandom,
    at: { readonly second: number; readonly isCandidate: boolean; readonly client: number },
  ) => Answer;
  /** Chosen by client, not by request. */
  readonly sticky?: boolean;
  readonly client?: (random: SeededRandom) => number;
  /** Requests that come together and go to one release. */
  readonly together?: number;
  /** Of what serves, in its own first minutes. */
  readonly cold?: (random: SeededRandom, second: number) => Answer;
}

export const usual = (random: SeededRandom): number => lognormal(random, 60, 0.5);
export const plain = (random: SeededRandom, errors = 0.002) => ({
  ms: usual(random),
  isError: random.fraction() < errors,
});

/** Bursts of seconds, one in `every` seconds on average; `own`: each arm has its own. */
export function bursts(every: number, own: boolean) {
  const until = new Map<string, { second: number; end: number }>();
  return (random: SeededRandom, second: number, isCandidate: boolean): boolean => {
    const key = own ? String(isCandidate) : "both";
    const known = until.get(key);
    if (known?.second === second) return second < known.end;
    const begins = random.fraction() < 1 / every;
    const end = begins ? second + random.between(2, 6) : (known?.end ?? 0);
    until.set(key, { second, end });
    return second < end;
  };
}

export const zipf = (count: number) => {
  const weights = Array.from({ length: count }, (_, i) => 1 / (i + 1));
  const total = weights.reduce((sum, one) => sum + one, 0);
  return (random: SeededRandom): number => {
    let left = random.fraction() * total;
    for (let i = 0; i < count; i += 1) {
      left -= weights[i] ?? 0;
      if (left < 0) return i;
    }
    return 0;
  };
};

export function sourceOf(kind: Kind, fault: Fault, random: SeededRandom): Source {
  const together = kind.together ?? 1;
  return (second, share) => {
    const arms: Arms = { serving: [], candidate: [] };
    const count = poisson(kind.perSecond / together, random);
    for (let i = 0; i < count; i += 1) {
      const client = kind.client?.(random) ?? random.between(0, 4_999);
      const chance = kind.sticky ? ((client * 2_654_435_761) % 1_000) / 1_000 : random.fraction();
      const isCandidate = chance < share;
      let first: Answer | undefined;
      for (let j = 0; j < together; j += 1) {
        const drawn = kind.draw(random, { second, isCandidate, client });
        first ??= drawn;
        const own = { ...drawn, ms: Math.round(drawn.ms), isError: first.isError };
        const answer = isCandidate ? fault(own, random, second) : own;
        arms[isCandidate ? "candidate" : "serving"].push({ ...answer, client, second });
      }
    }
    return arms;
  };
}

/** As the telemetry process counts them. */
export function counts(
  release: number,
  requests: readonly Request[],
  warm: number,
  {
    bounds = [],
    sizes,
    withQuantiles = false,
  }: {
    readonly bounds?: readonly number[] | undefined;
    readonly sizes?: readonly [number, number] | undefined;
    readonly withQuantiles?: boolean;
  } = {},
): ArmCounts {
  const timed = requests.filter(({ isError, second }) => !isError && second >= warm);
  const sorted = withQuantiles ? timed.map(({ ms }) => ms).sort((a, b) => a - b) : [];
  const whole = requests.filter(({ isError, isRefused }) => !isError && !isRefused);
  const bytes = whole.map(({ bytes: own }) => own ?? USUAL_BYTES);
  const logs = requests
    .filter(({ isError }) => !isError)
    .map(({ ms }) => Math.log(Math.max(1, ms)));
  const of = (bad: number, total = requests.length) => ({ total, bad });
  const bytesSorted = withQuantiles ? bytes.toSorted((a, b) => a - b) : [];
  const at = (level: number): number =>
    bytesSorted[Math.round(level * (bytesSorted.length - 1))] ?? 0;
  return {
    service: "web",
    release,
    requests: requests.length,
    errors: requests.filter(({ isError }) => isError).length,
    logErrors: 0,
    timed: timed.length,
    over: bounds.map((bound) => timed.filter(({ ms }) => ms > bound).length),
    odd: {
      redirects: of(0),
      refusals: of(requests.filter(({ isRefused }) => isRefused).length),
      small: of(sizes ? bytes.filter((own) => own < sizes[0]).length : 0, whole.length),
      large: of(sizes ? bytes.filter((own) => own > sizes[1]).length : 0, whole.length),
    },
    routes: byRoute(requests),
    ...(withQuantiles && bytesSorted.length > 0 && { sizes: [at(0.05), at(0.95)] as const }),
    logMs: {
      count: logs.length,
      sum: logs.reduce((sum, log) => sum + log, 0),
      squares: logs.reduce((sum, log) => sum + log * log, 0),
    },
    quantiles: sorted.length === 0 ? [] : quantilesOf(sorted),
  };
}

const USUAL_BYTES = 4_000;

function byRoute(requests: readonly Request[]): Record<string, { total: number; bad: number }> {
  const routes: Record<string, { total: number; bad: number }> = {};
  for (const { route = "GET /", isError, isRefused } of requests) {
    const { total = 0, bad = 0 } = routes[route] ?? {};
    routes[route] = { total: total + 1, bad: bad + (isError || isRefused ? 1 : 0) };
  }
  return routes;
}

const quantilesOf = (sorted: readonly number[]): number[] =>
  Array.from(
    { length: 201 },
    (_, level) => sorted[Math.round((level / 200) * (sorted.length - 1))] ?? 0,
  );

/** As the telemetry process sums them up. */
export function clustered(requests: readonly Request[]): ArmCounts {
  const arm = counts(SERVING, requests, Number.NEGATIVE_INFINITY, { withQuantiles: true });
  const bounds = LATENCY_LEVELS.map((level) => arm.quantiles[Math.round(level * 200)] ?? 0);
  const sums = (
    key: (one: Request) => number,
    isCounted: (one: Request) => boolean,
    isBad: (one: Request) => boolean,
  ): ClusterSums => {
    const clusters = new Map<number, { total: number; bad: number }>();
    for (const one of requests) {
      const known = clusters.get(key(one)) ?? { total: 0, bad: 0 };
      if (isCounted(one)) known.total += 1;
      if (isBad(one)) known.bad += 1;
      clusters.set(key(one), known);
    }
    const all = [...clusters.values()];
    const sum = (of: (one: { total: number; bad: number }) => number): number =>
      all.reduce((total, one) => total + of(one), 0);
    return {
      clusters: all.length,
      total: sum(({ total }) => total),
      bad: sum(({ bad }) => bad),
      totalSquared: sum(({ total }) => total * total),
      badTotal: sum(({ bad, total }) => bad * total),
      badSquared: sum(({ bad }) => bad * bad),
    };
  };
  const kinds = [
    ({ client }: Request): number => client,
    ({ second }: Request): number => Math.floor(second / SLICE_S),
  ];
  const isTimed = ({ isError }: Request): boolean => !isError;
  return {
    ...arm,
    clustering: {
      odd: {
        redirects: [],
        refusals: kinds.map((key) =>
          sums(
            key,
            () => true,
            ({ isRefused }) => isRefused === true,
          ),
        ),
        small: [],
        large: [],
      },
      errors: kinds.map((key) =>
        sums(
          key,
          () => true,
          ({ isError }) => isError,
        ),
      ),
      slow: bounds.map((bound) =>
        kinds.map((key) => sums(key, isTimed, (one) => isTimed(one) && one.ms > bound)),
      ),
    },
  };
}
