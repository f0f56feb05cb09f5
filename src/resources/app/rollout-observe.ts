// What a rollout has to look at beyond its instances: wishes of people, smoke checks, what requests
// say of both releases, and how full their instances are. Whoever does not answer is left out: a
// judgement waits, it never guesses.

import type { ArmCounts, ComparisonQuestion, ResourceUse } from "../../kernel/signal.ts";
import { ROLLOUT, type RolloutWish } from "../rollout/rollout.ts";
import type { App, Rollout, Watch } from "./app.ts";
import type { AppDeps, ComputeDriver, ProbeResult } from "./app-driver.ts";
import {
  type AppObserved,
  type Comparison,
  type MetricReading,
  manifestOf,
  policyOf,
  type WatchedTraffic,
} from "./app-observed.ts";
import { boundsFor } from "./judgement/judgement.ts";
import type { Tally } from "./judgement/sequential-test.ts";
import { designEffect } from "./judgement/test-state.ts";
import { olderThan } from "./judgement/unanswered.ts";
import { type Objective, objectivesOf } from "./objectives.ts";
import { candidateKey } from "./traffic-plan.ts";
import { objectiveKey, WATCH_LAG_MS } from "./watch-report.ts";

/** So long a release is compared with the first minutes of the one that serves. */
const COLD_MS = 3 * 60_000;
/** Records of requests are there so long after their end. */
const LAG_MS = 500;
const BASELINE_MS = 10 * 60_000;
const ARMS_EVERY_MS = 2_000;
const USAGE_EVERY_MS = 2_000;
const METRICS_EVERY_MS = 10_000;
const CLUSTERING_EVERY_MS = 10_000;
/** The edge tells ages in whole seconds. */
const UNANSWERED_FROM_MS = 1_000;
/** Records are named by when they began: those that took longer than this are not in a figure. */
const METRICS_LAG_MS = 5_000;

export type RolloutLook = Pick<AppObserved, "wish" | "smoke" | "comparison" | "watched" | "usage">;

export const findWish = (app: App, { store }: Pick<AppDeps, "store">): RolloutWish | undefined =>
  store.find(ROLLOUT, app.name)?.spec;

export async function observeRollout(
  app: App,
  observed: AppObserved,
  deps: AppDeps,
  driverHolding: (name: string) => Promise<ComputeDriver>,
  signal: AbortSignal,
): Promise<RolloutLook> {
  const rollout = app.status?.rollout;
  const watch = app.status?.watch;
  const nothing = { smoke: new Map(), usage: new Map() };
  if (!rollout)
    return { ...nothing, watched: watch && (await observeWatch(app, watch, observed, deps)) };
  const wish = findWish(app, deps);
  if (rollout.phase === "smoke")
    return { ...nothing, wish, smoke: await askSmoke(app, rollout, observed, deps, signal) };
  if (rollout.phase !== "stepping") return { ...nothing, wish };
  const [comparison, usage] = await Promise.all([
    compare(app, rollout, observed, deps),
    readUsage(app, rollout, observed, driverHolding),
  ]);
  return { ...nothing, wish, comparison, usage };
}

async function askSmoke(
  app: App,
  rollout: Rollout,
  observed: AppObserved,
  { smoke }: AppDeps,
  signal: AbortSignal,
): Promise<ReadonlyMap<number, ProbeResult>> {
  // Before the edge knows the candidate the key would lead to what serves.
  if (!observed.edge?.traffic?.candidate) return new Map();
  const { release } = rollout.placement.set;
  const services = Object.entries(manifestOf(observed, release)?.services ?? {});
  const routes = services.flatMap(([service, spec]) =>
    spec.routes.map((route) => ({ service, ...route })),
  );
  const policy = policyOf(observed, release);
  const key = candidateKey(app, rollout, policy);
  const asked = policy.smoke.map(async (check, index): Promise<[number, ProbeResult]> => {
    const { path, service } = check;
    if (path === undefined) return [index, { ok: true, detail: "a command" }];
    const host = routes.find((route) => service === undefined || route.service === service)?.host;
    if (host === undefined)
      return [index, { ok: false, detail: `${service ?? "the app"} has no route to ask by` }];
    return [
      index,
      await smoke.ask({ ...check, path, host: host.replace(/^\*/, "www"), key }, signal),
    ];
  });
  return new Map(await Promise.all(asked));
}

async function compare(
  app: App,
  rollout: Rollout,
  observed: AppObserved,
  deps: AppDeps,
): Promise<Comparison | undefined> {
  const { from, stageSince, judgement, placement, exposedAt = 0 } = rollout;
  if (from === undefined || stageSince === undefined) return undefined;
  const { analysis } = policyOf(observed, placement.set.release);
  const [environment = "", name = ""] = app.name.split("/");
  const ask = (question: Partial<ComparisonQuestion>): Promise<readonly ArmCounts[] | undefined> =>
    deps.traffic.compare({
      environment,
      app: name,
      releases: [from, placement.set.release],
      from: stageSince,
      through: stageSince,
      beganFrom: stageSince,
      latencyFrom: exposedAt + analysis.warmUp,
      bounds: {},
      quantiles: false,
      ...question,
    });
  if (!judgement) {
    const before = { from: stageSince - BASELINE_MS, latencyFrom: 0, beganFrom: 0 };
    const [baseline, cold] = await Promise.all([
      ask({ releases: [from], ...before, quantiles: true, routes: true }),
      askFirstMinutes(app, from, ask),
    ]);
    return baseline && { baseline, ...(cold && { cold }), since: stageSince };
  }
  const until = observed.now - LAG_MS;
  if (until <= judgement.through) return undefined;
  const isFresh = until - exposedAt < COLD_MS;
  const bounds = boundsFor(judgement, from, placement.set.release, analysis, isFresh);
  const { sizes = {} } = judgement;
  const isTurn = (everyMs: number): boolean =>
    Math.floor(until / everyMs) > Math.floor(judgement.through / everyMs);
  const releases = [from, placement.set.release];
  const sinceBefore = { from: stageSince - BASELINE_MS, beganFrom: 0, latencyFrom: 0 };
  const [block, arms, metrics, clustered, unanswered] = await Promise.all([
    ask({ from: judgement.through, through: until, bounds, sizes, routes: true }),
    isTurn(ARMS_EVERY_MS)
      ? ask({ from: judgement.since, through: until, quantiles: true })
      : undefined,
    isTurn(METRICS_EVERY_MS) ? readMetrics(app, rollout, until, observed, deps) : undefined,
    judgement.through === judgement.since || isTurn(CLUSTERING_EVERY_MS)
      ? ask({ releases: [from], ...sinceBefore, through: until, clustering: true, sizes })
      : undefined,
    readUnanswered(
      app,
      releases,
      Math.max(stageSince, exposedAt + analysis.warmUp),
      observed,
      deps,
    ),
  ]);
  return (
    block && {
      block: withUnanswered(block, unanswered),
      until,
      ...(arms && { arms: withUnanswered(arms, unanswered) }),
      ...(metrics && { metrics }),
      ...(clustered && { clustered }),
    }
  );
}

/**
 * The serving release in the first minutes that it had requests, as far as that is known: a candidate
 * in its own first minutes is as cold as that one was.
 */
async function askFirstMinutes(
  app: App,
  release: number,
  ask: (question: Partial<ComparisonQuestion>) => Promise<readonly ArmCounts[] | undefined>,
): Promise<readonly ArmCounts[] | undefined> {
  const delivery = app.status?.deliveries?.find(
    (one) => one.release === release && one.outcome === "succeeded",
  );
  if (!delivery) return undefined;
  const from = delivery.exposedAt ?? delivery.endedAt;
  const times = { from, beganFrom: from, latencyFrom: from, through: from + COLD_MS };
  return ask({ releases: [release], ...times, quantiles: true });
}

type Unanswered = Pick<ArmCounts, "service" | "release"> & { readonly ageMs: number };

/** Requests to these releases that began after `since` and hang; none where the edge does not say. */
async function readUnanswered(
  app: App,
  releases: readonly number[],
  since: number,
  { now, edge, instances }: AppObserved,
  deps: AppDeps,
): Promise<readonly Unanswered[]> {
  if (!edge?.servers.some(({ requests }) => requests > 0)) return [];
  const waiting = await deps.edge.unanswered(app.name).catch(() => []);
  return waiting.flatMap(({ service, server, ageMs }) => {
    const release = instances.find(({ name }) => name === server)?.labels.release;
    const isMeant = ageMs >= UNANSWERED_FROM_MS && now - ageMs >= since;
    return release !== undefined && isMeant && releases.includes(release)
      ? [{ service, release, ageMs }]
      : [];
  });
}

/** A release of which nothing has ended yet has an arm too, if something of it hangs. */
function withUnanswered(
  arms: readonly ArmCounts[],
  unanswered: readonly Unanswered[],
): readonly ArmCounts[] {
  const isOf = (arm: Pick<ArmCounts, "service" | "release">) => (one: Unanswered) =>
    one.service === arm.service && one.release === arm.release;
  const levels = Math.max(0, ...arms.map(({ over }) => over.length));
  const silent = unanswered.filter((one) => !arms.some((arm) => isOf(arm)(one)));
  const known = new Map(silent.map((one) => [`${one.service} ${one.release}`, one]));
  const added = [...known.values()].map(
    ({ service, release }): ArmCounts => ({
      ...{ service, release, requests: 0, errors: 0, logErrors: 0, timed: 0, quantiles: [] },
      over: Array<number>(levels).fill(0),
    }),
  );
  return [...arms, ...added].map((arm) => ({
    ...arm,
    unanswered: unanswered.filter(isOf(arm)).map(({ ageMs }) => ageMs),
  }));
}

async function readMetrics(
  app: App,
  { from = 0, placement, judgement, metrics: known }: Rollout,
  now: number,
  observed: AppObserved,
  { traffic }: AppDeps,
): Promise<Record<string, MetricReading>> {
  const { metrics } = policyOf(observed, placement.set.release).analysis;
  const [environment = "", name = ""] = app.name.split("/");
  const until = now - METRICS_LAG_MS;
  const entries = metrics.map(async (metric): Promise<[string, MetricReading]> => {
    const state = known?.[metric.name];
    const own = state?.since === judgement?.since ? state : undefined;
    const since = Math.min(until, own?.through ?? judgement?.since ?? until);
    const scope = { environment, app: name, since, until };
    const [candidate, serving] = await Promise.all(
      [placement.set.release, from].map((release) => traffic.read(metric, { ...scope, release })),
    );
    const problem = candidate?.problem ?? serving?.problem;
    return [
      metric.name,
      {
        candidate: candidate?.value ?? null,
        serving: serving?.value ?? null,
        ...(candidate?.tally &&
          serving?.tally && {
            tallies: { candidate: candidate.tally, serving: serving.tally },
            through: until,
          }),
        ...(problem !== undefined && { problem: `${metric.name}: ${problem}` }),
      },
    ];
  });
  return Object.fromEntries(await Promise.all(entries));
}

async function readUsage(
  app: App,
  rollout: Rollout,
  observed: AppObserved,
  driverHolding: (name: string) => Promise<ComputeDriver>,
): Promise<ReadonlyMap<string, ResourceUse>> {
  if (observed.now - (rollout.vitals?.at ?? 0) < USAGE_EVERY_MS) return new Map();
  const running = observed.instances.filter(
    ({ state, labels }) => state === "running" && labels.role !== "task",
  );
  const entries = await Promise.all(
    running.map(async ({ name }): Promise<[string, ResourceUse][]> => {
      const driver = await driverHolding(name);
      const use = await driver.usage(app.uid, name).catch(() => undefined);
      return use ? [[name, use]] : [];
    }),
  );
  return new Map(entries.flat());
}

// --- the watch after it

async function observeWatch(
  app: App,
  watch: Watch,
  observed: AppObserved,
  deps: AppDeps,
): Promise<WatchedTraffic | undefined> {
  const { placement, previous, since, exposedAt = since, through } = watch;
  const manifest = manifestOf(observed, placement.set.release);
  const until = Math.min(observed.now - WATCH_LAG_MS, watch.until);
  if (!manifest || until <= through) return undefined;
  const [environment = "", name = ""] = app.name.split("/");
  const objectives = objectivesOf(environment, name, manifest);
  const ask = async (release: number, from: number, to: number) => {
    const arms = await deps.traffic.compare({
      environment,
      app: name,
      releases: [release],
      from,
      through: to,
      latencyFrom: 0,
      bounds: latencyBounds(objectives, release),
      quantiles: false,
      clustering: to === exposedAt,
    });
    return arms;
  };
  const { release } = placement.set;
  const [seen, unanswered] = await Promise.all([
    ask(release, through, until),
    readUnanswered(app, [release], 0, observed, deps),
  ]);
  const before = watch.before
    ? undefined
    : await ask(previous.set.release, exposedAt - BASELINE_MS, exposedAt);
  return (
    seen && {
      until,
      seen: talliesOf(objectives, seen),
      waiting: waitingOf(objectives, unanswered),
      ...(before && {
        before: talliesOf(objectives, before),
        design: designOf(objectives, before),
      }),
    }
  );
}

function latencyBounds(objectives: readonly Objective[], release: number) {
  return Object.fromEntries(
    objectives.flatMap(({ kind, service, underSeconds = 0 }) =>
      kind === "latency" ? [[service, { [release]: [underSeconds * 1000] }]] : [],
    ),
  );
}

function waitingOf(
  objectives: readonly Objective[],
  unanswered: readonly Unanswered[],
): Record<string, number> {
  return Object.fromEntries(
    objectives.flatMap((objective): [string, number][] => {
      if (objective.kind !== "latency") return [];
      const own = unanswered.filter(({ service }) => service === objective.service);
      const ages = own.map(({ ageMs }) => ageMs);
      return [[objectiveKey(objective), olderThan(ages, (objective.underSeconds ?? 0) * 1000)]];
    }),
  );
}

function designOf(
  objectives: readonly Objective[],
  arms: readonly ArmCounts[],
): Record<string, number> {
  return Object.fromEntries(
    objectives.map((objective) => {
      const { errors = [], slow = [] } =
        arms.find(({ service }) => service === objective.service)?.clustering ?? {};
      const sums = objective.kind === "availability" ? errors : slow.flat();
      return [objectiveKey(objective), Math.max(1, ...sums.map(designEffect))];
    }),
  );
}

function talliesOf(
  objectives: readonly Objective[],
  arms: readonly ArmCounts[],
): Record<string, Tally> {
  return Object.fromEntries(
    objectives.flatMap((objective): [string, Tally][] => {
      const arm = arms.find(({ service }) => service === objective.service);
      if (!arm) return [];
      const tally =
        objective.kind === "availability"
          ? { total: arm.requests, bad: arm.errors }
          : { total: arm.timed, bad: arm.over[0] ?? 0 };
      return [[objectiveKey(objective), tally]];
    }),
  );
}
