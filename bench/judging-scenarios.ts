// What a release is judged by in bench/judging.ts: traffic of many kinds, releases that are as good,
// and ones that are not.

import { DOUBT, findingsOf } from "../src/resources/app/judgement/findings.ts";
import {
  beginJudgement,
  boundsFor,
  foldBlock,
  type Judgement,
  type Trends,
  trendsOf,
  withArms,
  withDesign,
} from "../src/resources/app/judgement/judgement.ts";
import { defaultRollout } from "../src/resources/app/rollout-policy.ts";
import type { SeededRandom } from "../test/support/virtual-clock.ts";
import {
  type Arms,
  BASELINE_S,
  bursts,
  CANDIDATE,
  clustered,
  counts,
  type Fault,
  type Kind,
  lognormal,
  plain,
  type Request,
  SERVING,
  sourceOf,
  usual,
  zipf,
} from "./judging-traffic.ts";

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
  "twice as slow in the first 30 s": () => ({
    perSecond: 100,
    draw: (random, { second, isCandidate }) => ({
      ...plain(random),
      ms: usual(random) * (isCandidate && second < 30 ? 2 : 1),
    }),
  }),
  "three times as slow at first, and quicker by half each 30 s": () => ({
    perSecond: 100,
    draw: (random, { second, isCandidate }) => ({
      ...plain(random),
      ms: usual(random) * (isCandidate ? 1 + 2 * 0.5 ** (second / 30) : 1),
    }),
    cold: (random, second) => ({
      ...plain(random),
      ms: usual(random) * (1 + 2 * 0.5 ** (second / 30)),
    }),
  }),
  "the same, where nothing is known of what serves": () => ({
    perSecond: 100,
    draw: (random, { second, isCandidate }) => ({
      ...plain(random),
      ms: usual(random) * (isCandidate ? 1 + 2 * 0.5 ** (second / 30) : 1),
    }),
  }),
  "more and more, and slower with it": () => ({
    perSecond: 100,
    draw: (random, { second }) => ({
      ...plain(random),
      ms: usual(random) * (1 + Math.max(0, second) / 120),
    }),
  }),
  "twenty routes, one of which refuses a third": () => ({
    perSecond: 100,
    draw: (random) => {
      const route = `GET /${random.between(1, 20)}`;
      return { ...plain(random), route, isRefused: route === "GET /7" && random.fraction() < 0.33 };
    },
  }),
  "one request in ten seconds": () => ({ perSecond: 0.1, draw: (random) => plain(random, 0.02) }),
  "one request in two seconds": () => ({ perSecond: 0.5, draw: (random) => plain(random, 0.02) }),
  "2,000 req/s, 0.2 points more errors and 3 ms more, which does not matter": () => ({
    perSecond: 2_000,
    draw: (random, { isCandidate }) => ({
      ms: usual(random) + (isCandidate ? 3 : 0),
      isError: random.fraction() < (isCandidate ? 0.004 : 0.002),
    }),
  }),
};

/** Name → what is wrong; all of it at 100 req/s of which a tenth, then a half goes to the candidate. */
export const FAULTS: Readonly<Record<string, Fault>> = {
  "5 % errors": (answer, random) => ({
    ...answer,
    isError: answer.isError || random.fraction() < 0.05,
  }),
  "half as slow again": (answer) => ({ ...answer, ms: answer.ms * 1.5 }),
  "401 for all": (answer) => ({ ...answer, isRefused: true }),
  "2 % of the bodies are empty": (answer, random) =>
    random.fraction() < 0.02 ? { ...answer, bytes: 200 } : answer,
  "2 % of the bodies break off": (answer, random) => ({
    ...answer,
    isError: answer.isError || random.fraction() < 0.02,
  }),
  "a route of 2 % that fails wholly": (answer) =>
    answer.route === SMALL_ROUTE ? { ...answer, isError: true } : answer,
  "a route of 2 % that refuses wholly": (answer) =>
    answer.route === SMALL_ROUTE ? { ...answer, isRefused: true } : answer,
};

const SMALL_ROUTE = "GET /small";

/** Five in a hundred fail, from minute ten on. */
export const LATE: Fault = (answer, random, second) =>
  second >= LATE_S ? { ...answer, isError: answer.isError || random.fraction() < 0.05 } : answer;
export const LATE_S = 600;
export const LONG_STAGE: readonly Stage[] = [{ share: 0.1, seconds: 900 }];

/** Requests of which one in fifty is to a route of its own. */
export const USUAL_TRAFFIC = (): Kind => ({
  perSecond: 100,
  draw: (random) => ({
    ...plain(random),
    route: random.fraction() < 0.02 ? SMALL_ROUTE : `GET /${random.between(1, 8)}`,
  }),
});

export interface Stage {
  readonly share: number;
  readonly seconds: number;
}

export const STAGES: readonly Stage[] = [
  { share: 0.1, seconds: 60 },
  { share: 0.5, seconds: 60 },
];

const ARMS_EVERY_S = 2;
const DESIGN_S = 10;
const COLD_S = 180;

export interface Story {
  /** The second in which the rollout is aborted; undefined: it is not. */
  readonly aborted: number | undefined;
  /** Stages at whose end a person would be asked, because it may well be worse. */
  readonly asked: number;
}

/** The same requests as `play` sees, to the end, for other judges. */
export function draw(
  kindOf: (random: SeededRandom) => Kind,
  fault: Fault,
  random: SeededRandom,
  stages: readonly Stage[] = STAGES,
): readonly (Arms & Stage)[] {
  const source = sourceOf(kindOf(random), fault, random);
  for (let second = -BASELINE_S; second < 0; second += 1) source(second, 0);
  let elapsed = 0;
  return stages.map((stage) => {
    const own: Arms = { serving: [], candidate: [] };
    for (const end = elapsed + stage.seconds; elapsed < end; elapsed += 1) {
      const { serving, candidate } = source(elapsed, stage.share);
      own.serving.push(...serving);
      own.candidate.push(...candidate);
    }
    return { ...own, ...stage };
  });
}

export function play(
  kindOf: (random: SeededRandom) => Kind,
  fault: Fault,
  random: SeededRandom,
  stages: readonly Stage[] = STAGES,
): Story {
  const { analysis } = defaultRollout;
  const warm = analysis.warmUp / 1000;
  const kind = kindOf(random);
  const source = sourceOf(kind, fault, random);
  const serving: Request[] = [];
  for (let second = -BASELINE_S; second < 0; second += 1)
    serving.push(...source(second, 0).serving);
  const { cold: coldAnswer } = kind;
  const cold = coldAnswer
    ? counts(SERVING, coldRequests(kind.perSecond, coldAnswer, random), 0, { withQuantiles: true })
    : undefined;
  let [elapsed, asked] = [0, 0];
  let trends: Trends | undefined;
  for (const { share, seconds } of stages) {
    const since = elapsed;
    const baseline = serving.filter(({ second }) => second >= since - BASELINE_S);
    let judgement: Judgement = beginJudgement(since * 1_000, {
      arms: [counts(SERVING, baseline, Number.NEGATIVE_INFINITY, { withQuantiles: true })],
      ...(cold && { cold: [cold] }),
      ...{ share, plannedMs: seconds * 1_000 },
      ...(trends && { trends }),
    });
    const own: Arms = { serving: [], candidate: [] };
    while (elapsed < since + seconds) {
      const drawn = source(elapsed, share);
      elapsed += 1;
      serving.push(...drawn.serving);
      own.serving.push(...drawn.serving);
      own.candidate.push(...drawn.candidate);
      const isFresh = elapsed < COLD_S;
      const bounds = boundsFor(judgement, SERVING, CANDIDATE, analysis, isFresh)["web"];
      const sizes = judgement.sizes?.["web"];
      const block = {
        serving: [counts(SERVING, drawn.serving, warm, { bounds: bounds?.[SERVING], sizes })],
        candidate: [
          counts(CANDIDATE, drawn.candidate, warm, { bounds: bounds?.[CANDIDATE], sizes }),
        ],
      };
      judgement = foldBlock(judgement, block, elapsed * 1000, analysis);
      if (judgement.design === undefined || elapsed % DESIGN_S === 0) {
        const from = since - BASELINE_S;
        judgement = withDesign(judgement, [
          clustered(serving.filter(({ second }) => second >= from)),
        ]);
      }
      if (elapsed % ARMS_EVERY_S === 0)
        judgement = withArms(judgement, {
          serving: [counts(SERVING, own.serving, warm)],
          candidate: [counts(CANDIDATE, own.candidate, warm)],
        });
      const { certain } = findingsOf(judgement, analysis, stages.length);
      if (certain.length > 0) {
        if (process.env["HOLDFAST_BENCH_WHY"])
          console.error(elapsed, certain.map(({ text }) => text).join("; "));
        return { aborted: elapsed, asked };
      }
    }
    trends = trendsOf(judgement);
    const { possible } = findingsOf(judgement, analysis, stages.length);
    if (possible.some(({ odds }) => odds >= DOUBT)) asked += 1;
  }
  return { aborted: undefined, asked };
}

function coldRequests(
  perSecond: number,
  answer: NonNullable<Kind["cold"]>,
  random: SeededRandom,
): Request[] {
  return Array.from({ length: Math.round(perSecond * COLD_S * 0.3) }, (_, index) => {
    const second = Math.floor(index / (perSecond * 0.3));
    return { ...answer(random, second), client: index % 500, second };
  });
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
