// Traffic that is not independent, for bench/judging.ts: clients that come back, pages that ask ten
// times, trouble in bursts, latencies with heavy tails or two modes. A release that is as good must not
// be aborted in any of them.

import { type ArmCounts, type ClusterSums, LATENCY_LEVELS } from "../src/kernel/signal.ts";
import {
  beginJudgement,
  boundsFor,
  findingsOf,
  foldBlock,
  type Judgement,
  withArms,
  withDesign,
} from "../src/resources/app/judgement/judgement.ts";
import { defaultRollout } from "../src/resources/app/rollout-policy.ts";
import type { SeededRandom } from "../test/support/virtual-clock.ts";

interface Request {
  readonly ms: number;
  readonly isError: boolean;
  readonly client: number;
  readonly second: number;
}

interface Arms {
  readonly serving: Request[];
  readonly candidate: Request[];
}

/** Requests of one second; `share` of them to the candidate. */
type Source = (second: number, share: number) => Arms;

export interface Worse {
  readonly errors: number;
  readonly times: number;
}

export const AS_GOOD: Worse = { errors: 0, times: 1 };

const BASELINE_S = 600;
const SLICE_S = 10;
const LOOK_S = 2;
const [SERVING, CANDIDATE] = [1, 2] as const;
const STAGES = [
  { share: 0.1, seconds: 60 },
  { share: 0.5, seconds: 60 },
] as const;

const normal = (random: SeededRandom): number =>
  Math.sqrt(-2 * Math.log(random.fraction() || 1e-12)) * Math.cos(2 * Math.PI * random.fraction());
const lognormal = (random: SeededRandom, median: number, sigma: number): number =>
  median * Math.exp(sigma * normal(random));

function poisson(mean: number, random: SeededRandom): number {
  if (mean > 60) return Math.max(0, Math.round(mean + Math.sqrt(mean) * normal(random)));
  let [product, count] = [random.fraction(), 0];
  for (const floor = Math.exp(-mean); product > floor; count += 1) product *= random.fraction();
  return count;
}

interface Kind {
  readonly perSecond: number;
  /** Of a request, whose arm is known. */
  readonly draw: (
    random: SeededRandom,
    at: { readonly second: number; readonly isCandidate: boolean; readonly client: number },
  ) => { readonly ms: number; readonly isError: boolean };
  /** Chosen by client, not by request. */
  readonly sticky?: boolean;
  readonly client?: (random: SeededRandom) => number;
  /** Requests that come together and go to one release. */
  readonly together?: number;
}

const usual = (random: SeededRandom): number => lognormal(random, 60, 0.5);
const plain = (random: SeededRandom, errors = 0.002) => ({
  ms: usual(random),
  isError: random.fraction() < errors,
});

/** Bursts of seconds, one in `every` seconds on average; `own`: each arm has its own. */
function bursts(every: number, own: boolean) {
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

const zipf = (count: number) => {
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

/** Name → traffic, anew for each rollout. */
export const SCENARIOS: Readonly<Record<string, (random: SeededRandom) => Kind>> = {
  "independent, 100 req/s": () => ({ perSecond: 100, draw: (random) => plain(random) }),
  "bursts of errors, each arm's own, one a minute": () => {
    const isBurst = bursts(60, true);
    return {
      perSecond: 100,
      draw: (random, { second, isCandidate }) =>
        plain(random, isBurst(random, second, isCandidate) ? 0.3 : 0.002),
    };
  },
  "bursts of errors, each arm's own, one in ten minutes": () => {
    const isBurst = bursts(600, true);
    return {
      perSecond: 100,
      draw: (random, { second, isCandidate }) =>
        plain(random, isBurst(random, second, isCandidate) ? 0.3 : 0.002),
    };
  },
  "bursts of errors that both meet": () => {
    const isBurst = bursts(60, false);
    return {
      perSecond: 100,
      draw: (random, { second, isCandidate }) =>
        plain(random, isBurst(random, second, isCandidate) ? 0.3 : 0.002),
    };
  },
  "sticky clients, one of which always fails": () => ({
    perSecond: 100,
    sticky: true,
    client: (random) => random.between(0, 199),
    draw: (random, { client }) => plain(random, client === 7 ? 1 : 0.002),
  }),
  "pages of ten requests that fail together": () => ({
    perSecond: 100,
    together: 10,
    draw: (random) => plain(random, 0.03),
  }),
  "sticky heavy users, each as slow as they are": () => {
    const pick = zipf(300);
    const slow = new Map<number, number>();
    return {
      perSecond: 100,
      sticky: true,
      client: pick,
      draw: (random, { client }) => {
        const own = slow.get(client) ?? lognormal(random, 1, 0.8);
        slow.set(client, own);
        return { ms: usual(random) * own, isError: random.fraction() < 0.002 };
      },
    };
  },
  "heavy tails": () => ({
    perSecond: 100,
    draw: (random) => ({ ms: 20 / (random.fraction() || 1e-6) ** 0.7, isError: false }),
  }),
  "two modes, 20 and 800 ms": () => ({
    perSecond: 100,
    draw: (random) => ({
      ms: random.fraction() < 0.06 ? lognormal(random, 800, 0.1) : lognormal(random, 20, 0.2),
      isError: random.fraction() < 0.002,
    }),
  }),
  "both get slower and fail more": () => ({
    perSecond: 100,
    draw: (random, { second }) => ({
      ms: usual(random) * (1 + Math.max(0, second) / 60),
      isError: random.fraction() < 0.002 + Math.max(0, second) / 2_000,
    }),
  }),
  "one request in two seconds": () => ({ perSecond: 0.5, draw: (random) => plain(random, 0.02) }),
  "2,000 req/s, 0.2 points more errors and 3 ms more, which does not matter": () => ({
    perSecond: 2_000,
    draw: (random, { isCandidate }) => ({
      ms: usual(random) + (isCandidate ? 3 : 0),
      isError: random.fraction() < (isCandidate ? 0.004 : 0.002),
    }),
  }),
};

function sourceOf(kind: Kind, worse: Worse, random: SeededRandom): Source {
  const together = kind.together ?? 1;
  return (second, share) => {
    const arms: Arms = { serving: [], candidate: [] };
    const count = poisson(kind.perSecond / together, random);
    for (let i = 0; i < count; i += 1) {
      const client = kind.client?.(random) ?? random.between(0, 4_999);
      const chance = kind.sticky ? ((client * 2_654_435_761) % 1_000) / 1_000 : random.fraction();
      const isCandidate = chance < share;
      let first: { ms: number; isError: boolean } | undefined;
      for (let j = 0; j < together; j += 1) {
        const drawn = kind.draw(random, { second, isCandidate, client });
        first ??= drawn;
        const isError = first.isError || (isCandidate && random.fraction() < worse.errors);
        const ms = Math.round(drawn.ms * (isCandidate ? worse.times : 1));
        arms[isCandidate ? "candidate" : "serving"].push({ ms, isError, client, second });
      }
    }
    return arms;
  };
}

function counts(
  release: number,
  requests: readonly Request[],
  warm: number,
  bounds: readonly number[] = [],
  withQuantiles = false,
): ArmCounts {
  const timed = requests.filter(({ isError, second }) => !isError && second >= warm);
  const sorted = withQuantiles ? timed.map(({ ms }) => ms).sort((a, b) => a - b) : [];
  return {
    service: "web",
    release,
    requests: requests.length,
    errors: requests.filter(({ isError }) => isError).length,
    logErrors: 0,
    timed: timed.length,
    over: bounds.map((bound) => timed.filter(({ ms }) => ms > bound).length),
    quantiles: sorted.length === 0 ? [] : quantilesOf(sorted),
  };
}

const quantilesOf = (sorted: readonly number[]): number[] =>
  Array.from(
    { length: 201 },
    (_, level) => sorted[Math.round((level / 200) * (sorted.length - 1))] ?? 0,
  );

/** As the telemetry process sums them up. */
function clustered(requests: readonly Request[]): ArmCounts {
  const arm = counts(SERVING, requests, Number.NEGATIVE_INFINITY, [], true);
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

/** The second in which the rollout is aborted; undefined: it passes. */
export function play(
  kind: (random: SeededRandom) => Kind,
  worse: Worse,
  random: SeededRandom,
): number | undefined {
  const { analysis } = defaultRollout;
  const warm = analysis.warmUp / 1000;
  const source = sourceOf(kind(random), worse, random);
  const serving: Request[] = [];
  for (let second = -BASELINE_S; second < 0; second += 1)
    serving.push(...source(second, 0).serving);
  let elapsed = 0;
  for (const { share, seconds } of STAGES) {
    const since = elapsed;
    const baseline = serving.filter(({ second }) => second >= since - BASELINE_S);
    let judgement: Judgement = beginJudgement(since, [
      counts(SERVING, baseline, Number.NEGATIVE_INFINITY, [], true),
    ]);
    const own: Arms = { serving: [], candidate: [] };
    while (elapsed < since + seconds) {
      const drawn = source(elapsed, share);
      elapsed += 1;
      serving.push(...drawn.serving);
      own.serving.push(...drawn.serving);
      own.candidate.push(...drawn.candidate);
      const bounds = boundsFor(judgement, SERVING, CANDIDATE, analysis)["web"];
      const block = {
        serving: [counts(SERVING, drawn.serving, warm, bounds?.[SERVING])],
        candidate: [counts(CANDIDATE, drawn.candidate, warm, bounds?.[CANDIDATE])],
      };
      judgement = foldBlock(judgement, block, elapsed * 1000, analysis);
      if (judgement.design === undefined || elapsed % SLICE_S === 0) {
        const from = since - BASELINE_S;
        judgement = withDesign(judgement, [
          clustered(serving.filter(({ second }) => second >= from)),
        ]);
      }
      if (elapsed % LOOK_S > 0) continue;
      judgement = withArms(judgement, {
        serving: [counts(SERVING, own.serving, warm, [], true)],
        candidate: [counts(CANDIDATE, own.candidate, warm, [], true)],
      });
      if (findingsOf(judgement, analysis, STAGES.length).certain.length > 0) return elapsed;
    }
  }
  return undefined;
}

/** Upper end of the one-sided exact interval of 95 % for `bad` of `total` (Clopper, Pearson 1934). */
export function upperBound(bad: number, total: number): number {
  if (bad >= total) return 1;
  let [low, high] = [bad / total, 1];
  for (let i = 0; i < 60; i += 1) {
    const p = (low + high) / 2;
    let [term, sum] = [(1 - p) ** total, 0];
    for (let k = 0; k <= bad; k += 1) {
      sum += term;
      term *= ((total - k) / (k + 1)) * (p / (1 - p));
    }
    if (sum > 0.05) low = p;
    else high = p;
  }
  return high;
}
