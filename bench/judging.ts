// How well rollouts are judged.
//
// Simulated: the product's own judgement over traffic whose latencies and error rates were recorded
// from the shop (bench/traffic-shapes.json), looked at every second as in a rollout. Equal releases,
// 1,000 rollouts: how many would be aborted. Worse ones: how many are caught, and how soon.
//
// Real: the shop under load, released by canary with a fault, and without one; what users got.
//
//   node bench/judging.ts             simulated
//   node bench/judging.ts --scenarios and traffic that is not independent, beside what Kayenta and Argo
//                                     Rollouts would say of the same requests; about an hour
//   node bench/judging.ts --real      both; about an hour
//   node bench/judging.ts --switches  of the real part only what steps, aborts and rollbacks cost
//   … --write                         into README.md

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import type { ArmCounts } from "../src/kernel/signal.ts";
import { findingsOf } from "../src/resources/app/judgement/findings.ts";
import {
  beginJudgement,
  boundsFor,
  foldBlock,
  type Judgement,
  withArms,
} from "../src/resources/app/judgement/judgement.ts";
import { defaultRollout } from "../src/resources/app/rollout-policy.ts";
import { SeededRandom } from "../test/support/virtual-clock.ts";
import { FAULTS, SCENARIOS, upperBound } from "./judging-scenarios.ts";
import type { Result, Task } from "./judging-worker.ts";
import { writeTable } from "./readme-table.ts";
import { measureRollouts, measureSwitches } from "./rollouts.ts";

interface Shape {
  readonly name: string;
  /** Requests per second of the whole app, second by second; it is gone through again and again. */
  readonly perSecond: readonly number[];
  readonly services: readonly {
    readonly service: string;
    /** Of the app's requests. */
    readonly share: number;
    readonly errorRate: number;
    /** ms, at the levels 0, 1/200, … 1. */
    readonly quantiles: readonly number[];
  }[];
}

interface Candidate {
  readonly errorRate: number;
  readonly latencyTimes: number;
}

const RECORDED = JSON.parse(
  readFileSync(join(import.meta.dirname, "traffic-shapes.json"), "utf8"),
) as readonly Shape[];
/** Answers as those of the app of bench/rollouts.ts; also with some errors of its own. */
const lognormal = (name: string, errorRate: number): Shape => ({
  name,
  perSecond: [100],
  services: [{ service: "web", share: 1, errorRate, quantiles: lognormalQuantiles(60, 0.5) }],
});
const SLOW_ANSWERS = lognormal("answers of 60 ms", 0);
const SHAPES = [...RECORDED, SLOW_ANSWERS, lognormal("answers of 60 ms, 0.5 % errors", 0.005)];
const STAGES = [
  { share: 0.1, seconds: 60 },
  { share: 0.5, seconds: 60 },
] as const;
const BASELINE_S = 600;
const WARM_UP_S = 10;
const ARMS_EVERY_S = 2;
const EQUAL: Candidate = { errorRate: 0, latencyTimes: 1 };
const [SERVING, CANDIDATE] = [1, 2] as const;

/** One request of a service: how long it took, and whether it failed. */
type Draw = { readonly ms: number; readonly isError: boolean };

class Traffic {
  readonly #shape: Shape;
  readonly #random: SeededRandom;
  #second: number;

  constructor(shape: Shape, random: SeededRandom) {
    this.#shape = shape;
    this.#random = random;
    this.#second = random.between(0, shape.perSecond.length - 1);
  }

  /** Requests of the next second by service, for both releases. */
  next(share: number, candidate: Candidate): Map<string, { serving: Draw[]; candidate: Draw[] }> {
    const expected = this.#shape.perSecond[this.#second % this.#shape.perSecond.length] ?? 0;
    this.#second += 1;
    const count = poisson(expected, this.#random);
    const drawn = new Map(
      this.#shape.services.map(({ service }) => [
        service,
        { serving: [] as Draw[], candidate: [] as Draw[] },
      ]),
    );
    for (let i = 0; i < count; i += 1) {
      const of = this.#service();
      const isCandidate = this.#random.fraction() < share;
      const { errorRate, latencyTimes } = isCandidate ? candidate : EQUAL;
      const isError = this.#random.fraction() < of.errorRate + errorRate;
      const at = this.#random.fraction() * (of.quantiles.length - 1);
      const [low = 0, high = low] = [of.quantiles[Math.floor(at)], of.quantiles[Math.ceil(at)]];
      const ms = Math.round((low + (high - low) * (at % 1)) * latencyTimes);
      drawn.get(of.service)?.[isCandidate ? "candidate" : "serving"].push({ ms, isError });
    }
    return drawn;
  }

  #service(): Shape["services"][number] {
    let left = this.#random.fraction();
    for (const one of this.#shape.services) {
      left -= one.share;
      if (left < 0) return one;
    }
    return this.#shape.services[0] as Shape["services"][number];
  }
}

/** As the telemetry process counts them. */
function countsOf(
  service: string,
  release: number,
  draws: readonly Draw[],
  isTimed: boolean,
  bounds: readonly number[] = [],
  withQuantiles = false,
): ArmCounts {
  const timed = isTimed ? draws.filter(({ isError }) => !isError).map(({ ms }) => ms) : [];
  const sorted = withQuantiles ? timed.toSorted((one, other) => one - other) : [];
  return {
    service,
    release,
    requests: draws.length,
    errors: draws.filter(({ isError }) => isError).length,
    logErrors: 0,
    timed: timed.length,
    over: bounds.map((bound) => timed.filter((ms) => ms > bound).length),
    quantiles:
      sorted.length === 0
        ? []
        : Array.from(
            { length: 201 },
            (_, level) => sorted[Math.round((level / 200) * (sorted.length - 1))] ?? 0,
          ),
  };
}

/** Seconds until it is aborted, and until its first bad answer; undefined: it passes. */
export function simulateRollout(
  shape: Shape,
  candidate: Candidate,
  random: SeededRandom,
): { readonly abortedAfter: number; readonly firstBadAt: number } | undefined {
  const traffic = new Traffic(shape, random);
  const before = new Map<string, Draw[]>();
  for (let second = 0; second < BASELINE_S; second += 1)
    for (const [service, { serving }] of traffic.next(0, EQUAL))
      before.set(service, [...(before.get(service) ?? []), ...serving]);
  const baseline = [...before].map(([service, draws]) =>
    countsOf(service, SERVING, draws, true, [], true),
  );
  let elapsed = 0;
  let firstBadAt = Number.POSITIVE_INFINITY;
  for (const { share, seconds } of STAGES) {
    let judgement: Judgement = beginJudgement(elapsed * 1_000, {
      arms: baseline,
      ...{ share, plannedMs: seconds * 1_000 },
    });
    const all = new Map<string, { serving: Draw[]; candidate: Draw[] }>();
    for (let second = 1; second <= seconds; second += 1) {
      elapsed += 1;
      const isTimed = elapsed > WARM_UP_S;
      const drawn = traffic.next(share, candidate);
      const bounds = boundsFor(judgement, SERVING, CANDIDATE, defaultRollout.analysis);
      for (const [service, own] of drawn) {
        if (own.candidate.some(({ isError }) => isError))
          firstBadAt = Math.min(firstBadAt, elapsed);
        const known = all.get(service) ?? { serving: [], candidate: [] };
        if (isTimed) {
          known.serving.push(...own.serving);
          known.candidate.push(...own.candidate);
        }
        all.set(service, known);
      }
      judgement = foldBlock(
        judgement,
        {
          serving: [...drawn].map(([service, { serving }]) =>
            countsOf(service, SERVING, serving, isTimed, bounds[service]?.[SERVING]),
          ),
          candidate: [...drawn].map(([service, own]) =>
            countsOf(service, CANDIDATE, own.candidate, isTimed, bounds[service]?.[CANDIDATE]),
          ),
        },
        elapsed * 1_000,
        defaultRollout.analysis,
      );
      if (second % ARMS_EVERY_S === 0)
        judgement = withArms(judgement, {
          serving: [...all].map(([service, { serving }]) =>
            countsOf(service, SERVING, serving, true, [], true),
          ),
          candidate: [...all].map(([service, own]) =>
            countsOf(service, CANDIDATE, own.candidate, true, [], true),
          ),
        });
      const { certain } = findingsOf(judgement, defaultRollout.analysis, STAGES.length);
      if (certain.length > 0) return { abortedAfter: elapsed, firstBadAt };
    }
  }
  return undefined;
}

function poisson(mean: number, random: SeededRandom): number {
  if (mean > 60) {
    // A normal one is as good, and quick.
    const [u, v] = [random.fraction() || 1e-9, random.fraction()];
    return Math.max(
      0,
      Math.round(mean + Math.sqrt(mean) * Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v)),
    );
  }
  let [product, count] = [random.fraction(), 0];
  const floor = Math.exp(-mean);
  while (product > floor) {
    product *= random.fraction();
    count += 1;
  }
  return count;
}

// By adding up the normal density until each level is reached.
function lognormalQuantiles(medianMs: number, sigma: number): number[] {
  const density = (x: number): number => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
  const step = 0.001;
  const quantiles: number[] = [];
  let [x, mass] = [-6, 0];
  for (let level = 0; level <= 200; level += 1) {
    const wanted = Math.min(0.9995, Math.max(0.0005, level / 200));
    while (mass < wanted) {
      mass += density(x) * step;
      x += step;
    }
    quantiles.push(medianMs * Math.exp(sigma * x));
  }
  return quantiles;
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

function measureSimulated(log: (text: string) => void) {
  const random = new SeededRandom(2026);
  const equal = Number(process.env["HOLDFAST_BENCH_EQUAL"] ?? 1_000);
  let falseAborts = 0;
  for (let i = 0; i < equal; i += 1) {
    const shape = SHAPES[i % SHAPES.length] as Shape;
    if (simulateRollout(shape, EQUAL, random)) falseAborts += 1;
    if (i % 100 === 99) log(`${i + 1} equal releases: ${falseAborts} would be aborted`);
  }
  const worse = (candidate: Candidate, count: number) => {
    const found = Array.from({ length: count }, () =>
      simulateRollout(SLOW_ANSWERS, candidate, random),
    );
    const caught = found.flatMap((one) => (one ? [one] : []));
    return {
      caught: caught.length / count,
      afterFirstBad: median(
        caught.map(({ abortedAfter, firstBadAt }) => abortedAfter - firstBadAt),
      ),
      after: median(caught.map(({ abortedAfter }) => abortedAfter)),
    };
  };
  const errors = worse({ errorRate: 0.05, latencyTimes: 1 }, 200);
  log(`5 % errors: ${JSON.stringify(errors)}`);
  const slow = worse({ errorRate: 0, latencyTimes: 1.5 }, 200);
  log(`half as slow again: ${JSON.stringify(slow)}`);
  return { equal, falseAborts, errors, slow };
}

/** Each on a thread of its own, as many at once as there are processors. */
async function measureScenarios(): Promise<void> {
  const wanted = Number(process.env["HOLDFAST_BENCH_SCENARIO"] ?? 300);
  const tasks: Task[] = [
    // Twenty times the requests of the others.
    ...Object.keys(SCENARIOS).map((name) => ({
      ...{ kind: "as good" as const, name },
      count: name.startsWith("2,000") ? Math.ceil(wanted / 10) : wanted,
    })),
    ...Object.keys(FAULTS).map((name) => ({ kind: "worse" as const, name, count: wanted })),
    { kind: "late", name: "5 % errors, from minute ten on", count: Math.ceil(wanted / 3) },
  ];
  const only = process.env["HOLDFAST_BENCH_ONLY"];
  const results = new Map<Task, Result>();
  const queue = tasks.filter(({ name }) => only === undefined || name.includes(only));
  const work = async (): Promise<void> => {
    for (let task = queue.shift(); task; task = queue.shift()) {
      const worker = new Worker(join(import.meta.dirname, "judging-worker.ts"), {
        workerData: task,
      });
      const [result] = (await once(worker, "message")) as [Result];
      results.set(task, result);
      log(JSON.stringify(result));
    }
  };
  await Promise.all(cpus().map(work));
  const share = (count: number, of: number): string => percent(count / of);
  writeTable(
    "judging-scenarios",
    tasks.flatMap((task) => {
      const one = results.get(task);
      if (!one) return [];
      const { kind, name, count, aborted, asked, kayenta, argo, after } = one;
      const isGood = kind === "as good";
      return [
        [
          isGood ? `as good: ${name}` : `worse: ${name}`,
          isGood ? "≤ 1 %" : "≥ 99 %",
          isGood
            ? `${aborted} of ${count}, ≤ ${percent(upperBound(aborted, count))}`
            : `${aborted} of ${count}, median ${median(after)} s`,
          share(asked, count),
          share(kayenta, count),
          share(argo, count),
        ],
      ];
    }),
    ["releases", "target", "aborted", "a person is asked", "as Kayenta", "as Argo Rollouts"],
  );
}

const log = (text: string): void => console.error(text);
const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
const rows: string[][] = [];
// A part of the scenarios, by name; the table in the README has all of them.
if (process.env["HOLDFAST_BENCH_ONLY"] !== undefined) {
  if (process.argv.includes("--write")) throw new Error("HOLDFAST_BENCH_ONLY excludes --write");
  await measureScenarios();
  process.exit(0);
}
const simulated = measureSimulated(log);
rows.push(
  [
    `${simulated.equal} simulated rollouts of a release as good: aborted`,
    "≤ 1 %",
    percent(simulated.falseAborts / simulated.equal),
  ],
  [
    "5 % errors at 10 % of 100 req/s, simulated: caught, median after the first bad answer",
    "≥ 99 %, ≤ 15 s",
    `${percent(simulated.errors.caught)}, ${simulated.errors.afterFirstBad} s`,
  ],
  [
    "half as slow again, simulated: caught, median after the first request",
    "≥ 95 %, ≤ 60 s",
    `${percent(simulated.slow.caught)}, ${simulated.slow.after} s`,
  ],
);
if (process.argv.includes("--scenarios")) await measureScenarios();
if (process.argv.includes("--real")) {
  const count = (name: string, usual: number): number => Number(process.env[name] ?? usual);
  const real = await measureRollouts(
    {
      errors: count("HOLDFAST_BENCH_ERRORS", 20),
      slow: count("HOLDFAST_BENCH_SLOW", 20),
      equal: count("HOLDFAST_BENCH_REAL_EQUAL", 50),
      shareRequests: count("HOLDFAST_BENCH_SHARE", 100_000),
    },
    log,
  );
  const caught = (all: typeof real.errors): string =>
    `${all.filter((one) => one.caught).length} of ${all.length}, ${median(all.map(({ seconds }) => seconds)).toFixed(1)} s`;
  const all = [...real.errors, ...real.slow];
  rows.push(
    [
      `${real.equal} real rollouts of a release as good: aborted`,
      "≤ 1 %",
      `${real.falseAborts} of ${real.equal}`,
    ],
    [
      "5 % errors at 10 % of 100 req/s: caught, median from the first bad answer until all requests are back",
      "≥ 99 %, ≤ 15 s",
      caught(real.errors),
    ],
    [
      "half as slow again, the same: caught, median from its first answer",
      "≥ 95 %, ≤ 60 s",
      caught(real.slow),
    ],
    [
      "bad answers that users got, over an all-at-once deploy taken back as fast",
      "≤ 0.15",
      median(real.errors.map(({ badOverAllAtOnce }) => badOverAllAtOnce)).toFixed(3),
    ],
    [
      "share asked against given, 1 to 50 %",
      "within 0.5 points",
      `${real.shares.toFixed(2)} points`,
    ],
    [
      "all requests off a bad release after the decision: median, longest",
      "≤ 300 ms",
      `${median(all.map(({ offMs }) => offMs))} ms, ${Math.max(...all.map(({ offMs }) => offMs))} ms`,
    ],
    ["requests that failed otherwise in all of these", "0", String(real.failed)],
  );
}
if (process.argv.includes("--real") || process.argv.includes("--switches")) {
  const rounds = Number(process.env["HOLDFAST_BENCH_SWITCHES"] ?? 5);
  const { requests, failed, releases, aborts, rollbacks } = await measureSwitches(rounds, log);
  rows.push([
    `failed of ${requests.toLocaleString("en")} requests at 500 req/s, through ${releases} releases (canary, rolling, blue-green), ${aborts} aborts, ${rollbacks} rollbacks`,
    "0",
    String(failed),
  ]);
}
writeTable("judging", rows);
