// What else is known of an alert: whose requests it is about, which route, how soon after a deploy it
// began, and what of the platform is in the way. What is not known is not said: a release that served
// while a store hung is not to blame for it.

import { sleep } from "../kernel/clock.ts";
import type { AnyKind } from "../kernel/kind.ts";
import type { ObjectiveCounts, ObjectiveQuestion } from "../kernel/objective-counts.ts";
import { SLOW_S } from "../resources/app/alert-rules.ts";
import {
  APP,
  type App,
  type AppStatus,
  appResourceName,
  type Rollout,
} from "../resources/app/app.ts";
import { needsOf } from "../resources/app/manifest.ts";
import { EDGE, EDGE_NAME, STORE_KINDS } from "../resources/engine/engine.ts";
import { RELEASE, releaseName } from "../resources/release/release.ts";
import type { OperationDeps } from "./operation-deps.ts";
import type { NeedsOf } from "./told-groups.ts";

export interface AlertContext {
  /** Release that it is about. */
  readonly release?: number;
  /** How long before it began that release came to its users, where that was not long. */
  readonly afterDeployMs?: number;
  /** `GET /checkout: 37 of 40 failed`, where one route stands out. */
  readonly route?: string;
  /** What of the platform does not work, such as `the cache of production is silent`. */
  readonly broken?: string;
}

type Labels = Readonly<Record<string, string>>;

/** Alerts on what users feel. */
const isFelt = ({ alertname = "" }: Labels): boolean => FELT.includes(alertname);
const FELT = ["HighErrorRate", "SlowResponses", "ErrorBudgetBurn"];
/** A deploy that was longer ago says nothing of what begins now. */
const DEPLOY_NEAR_MS = 15 * 60_000;
/** Requests that fail before an alert begins are of it. */
const LEAD_MS = 2 * 60_000;
/** Of an error budget: the window that it burned in. */
const WINDOWS_MS: Readonly<Record<string, number>> = { "1h": 3_600_000, "6h": 6 * 3_600_000 };
/** Further back than this nothing is counted. */
const SPAN_MAX_MS = 6 * 3_600_000;
const ASK_TIMEOUT_MS = 4_000;
const BAD_MIN = 3;
/** Fewer requests of another release say nothing of how it does. */
const OTHER_MIN = 20;
const ROUTE_SHARE = 0.5;

/** @param until when it was over; while it fires, what is broken now is told */
export async function contextOf(
  deps: OperationDeps,
  labels: Labels,
  since: number,
  until?: number,
): Promise<AlertContext> {
  const { environment, app } = labels;
  if (!environment || !app) return {};
  const found = deps.store.find(APP, appResourceName(environment, app));
  if (!found) return {};
  const broken = until === undefined ? needsOfApp(deps, found.name).broken : undefined;
  const felt = await feltBy(deps, labels, since, until);
  const route = felt && { ...(felt.route !== undefined && { route: felt.route }) };
  if (broken !== undefined) return { ...route, broken };
  if (felt?.isOfAll) return { ...route };
  const evident = named(labels) ?? felt?.release;
  if (evident !== undefined) return { ...route, ...aboutRelease(found, evident, since) };
  // Which one served then is a fact; that it is to blame would be a guess.
  const serving = isFelt(labels) ? undefined : inChargeAt(found, since);
  return { ...route, ...(serving !== undefined && { release: serving }) };
}

const named = ({ release }: Labels): number | undefined => Number(release) || undefined;

function aboutRelease({ status }: App, release: number, since: number): AlertContext {
  const began = rolloutsOf(status)
    .filter(({ placement }) => placement.set.release === release)
    .flatMap((one) => exposedAt(one) ?? [])
    .filter((at) => at <= since)
    .sort((a, b) => b - a)[0];
  const isNear = began !== undefined && since - began <= DEPLOY_NEAR_MS;
  return { release, ...(isNear && { afterDeployMs: since - began }) };
}

const rolloutsOf = (status: AppStatus | undefined): readonly Rollout[] => [
  ...(status?.rollout ? [status.rollout] : []),
  ...(status?.history ?? []),
];

/** When its first user got it. */
const exposedAt = ({ exposedAt: at, outcome, endedAt }: Rollout): number | undefined =>
  at ?? (outcome === "succeeded" || outcome === "rolled-back" ? endedAt : undefined);

/** The release that carried all traffic then; also one that was taken back since. */
export function inChargeAt({ status }: App, at: number): number | undefined {
  const last = (status?.history ?? []).find(
    ({ outcome, endedAt = Infinity }) =>
      (outcome === "succeeded" || outcome === "rolled-back") && endedAt <= at,
  );
  const serving = status?.serving;
  return (
    last?.placement.set.release ??
    (serving && serving.since <= at ? serving.set.release : undefined)
  );
}

interface Felt {
  readonly release?: number;
  /** Releases fail alike: it is not the release. */
  readonly isOfAll: boolean;
  readonly route?: string;
}

async function feltBy(
  deps: OperationDeps,
  labels: Labels,
  since: number,
  until: number | undefined,
): Promise<Felt | undefined> {
  const { alertname = "", environment = "", app = "", service = "", objective, window } = labels;
  if (!isFelt(labels) || service === "") return undefined;
  const own = deps
    .objectives()
    .find(
      (one) =>
        one.environment === environment &&
        one.app === app &&
        one.service === service &&
        one.kind === "latency",
    );
  const isSlow = alertname === "SlowResponses" || objective === "latency";
  const limitS = objective === "latency" ? own?.underSeconds : SLOW_S;
  const to = until ?? deps.clock.now();
  const leadMs = WINDOWS_MS[window ?? ""] ?? (window === undefined ? LEAD_MS : SPAN_MAX_MS);
  const ask = (byRoute: boolean): Promise<readonly ObjectiveCounts[]> => {
    const question: ObjectiveQuestion = {
      ...{ environment, app, service, byRoute },
      ...(isSlow && limitS !== undefined && { underMs: limitS * 1_000 }),
      from: Math.max(since - leadMs, to - SPAN_MAX_MS),
      to,
    };
    return deps.telemetry.ask("/objective", question);
  };
  const nothing = [[], []] as const;
  const [releases, routes] = await Promise.race([
    Promise.all([ask(false), ask(true)]).catch(() => nothing),
    // Whoever has to be woken does not wait for more facts.
    sleep(deps.clock, ASK_TIMEOUT_MS).then(() => nothing),
  ]);
  return { ...blameOf(releases), ...routeOf(routes, isSlow ? "slow" : "failed") };
}

const ratioOf = ({ bad, total }: ObjectiveCounts): number => (total > 0 ? bad / total : 0);

function blameOf(counts: readonly ObjectiveCounts[]): Felt {
  const known = counts.filter(({ release }) => release > 0);
  const [worst] = known
    .filter(({ bad }) => bad >= BAD_MIN)
    .sort((one, other) => ratioOf(other) - ratioOf(one));
  if (!worst) return { isOfAll: false };
  const isOfAll = known.some(
    (one) => one !== worst && one.total >= OTHER_MIN && ratioOf(one) * 2 >= ratioOf(worst),
  );
  return { release: worst.release, isOfAll };
}

function routeOf(counts: readonly ObjectiveCounts[], what: string): Pick<Felt, "route"> {
  const byRoute = new Map<string, { bad: number; total: number }>();
  for (const { route = "", bad, total } of counts) {
    const sum = byRoute.get(route) ?? { bad: 0, total: 0 };
    byRoute.set(route, { bad: sum.bad + bad, total: sum.total + total });
  }
  const all = [...byRoute.values()].reduce((sum, { bad }) => sum + bad, 0);
  const [worst] = [...byRoute].sort(([, one], [, other]) => other.bad - one.bad);
  if (!worst) return {};
  const [name, { bad, total }] = worst;
  const standsOut = bad >= BAD_MIN && bad >= all * ROUTE_SHARE;
  return standsOut ? { route: `${name}: ${bad} of ${total} ${what}` } : {};
}

/** The engines that an app can't do without, and one of them that does not work now. */
export function needsOfApp({ store }: OperationDeps, appName: string): ReturnType<NeedsOf> {
  const [environment = ""] = appName.split("/");
  const serving = store.find(APP, appName)?.status?.serving;
  const release = store.find(RELEASE, releaseName(appName, serving?.set.release ?? 0));
  const manifest = release?.spec.manifest;
  const engines = [
    { kind: EDGE, name: EDGE_NAME },
    ...(manifest ? needsOf(manifest) : []).map((one) => ({
      kind: STORE_KINDS[one],
      name: environment,
    })),
  ];
  const titleOf = ({ name }: AnyKind): string =>
    name === EDGE.name ? name : `${name} ${environment}`;
  const stateOf = ({ kind, name }: (typeof engines)[number]) =>
    store.find(kind, name)?.status?.state ?? "ready";
  const broken = engines.find((engine) => stateOf(engine) !== "ready");
  return {
    needs: engines.map(({ kind }) => titleOf(kind)),
    ...(broken && {
      broken: `the ${broken.kind.name}${broken.kind === EDGE ? "" : ` of ${environment}`} is ${stateOf(broken)}`,
    }),
  };
}
