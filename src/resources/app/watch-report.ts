// The time after a release got everything. What no canary showed, or none was asked for, shows here:
// a crash loop, or an error budget that burns so fast that it would be gone in two days. Then the
// release is taken back by itself. What burned before already is not its fault: it has to burn more
// than the limit, and more than twice as fast as the release before did. Nor is what failed
// while the platform was starting it after a stop, or had a store of it started again.

import type { App, AppStatusFields, Watch } from "./app.ts";
import { isSameSet } from "./app.ts";
import {
  type AppObserved,
  findInstance,
  isReady,
  type WantedInstance,
  wantedIn,
} from "./app-observed.ts";
import { isCrashLoop, restartDelay } from "./crash-backoff.ts";
import { exitText } from "./instance-exit.ts";
import { exceedBlock, noEvidence, type Tally } from "./judgement/sequential-test.ts";
import { isCertain, withNulls } from "./judgement/test-state.ts";
import { countAhead } from "./judgement/unanswered.ts";
import { graceMsOf, type Manifest } from "./manifest.ts";
import { type Objective, objectivesOf } from "./objectives.ts";
import type { Trouble } from "./rollout-progress.ts";

/** The watch looks so far back: by then it is known whether a store was away meanwhile. */
export const WATCH_LAG_MS = 6_000;
/** At this rate a budget of thirty days is gone in two: the usual page of the trade. */
const BURN = 14.4;
const EFFECTS = [1.2, 1.5, 2, 5, 20] as const;
/** Wrongly, in one of so many releases at most. */
const LEVEL = 0.001;
const BAD_MIN = 10;
/** The platform excuses no more than this in one watch: a release can also take its stores down. */
const HELD_UP_MAX = 3;
/** What ended by itself is started again within this, beyond its delay. */
const RESTART_SEEN_MS = 5_000;
/** So many times what the release before burned is more than its traffic or its stores can explain. */
const TIMES_BEFORE = 2;
/** Of fewer requests before nothing is known. */
const BEFORE_MIN = 50;
/** There is something above it for every alternative. */
const LIMIT_MAX = 0.98;

/** Name of an objective among those of an app. */
export const objectiveKey = ({ kind, service }: Objective): string => `${kind} ${service}`;

/** The share of bad requests that is still not held against the release. */
function limitOf({ target }: Objective, before: Tally | undefined): number {
  const isKnown = before !== undefined && before.total >= BEFORE_MIN;
  const burned = isKnown ? before.bad / before.total : 0;
  return Math.min(LIMIT_MAX, Math.max(Math.min(0.9, (1 - target) * BURN), TIMES_BEFORE * burned));
}

export function reportWatch(
  app: App,
  status: AppStatusFields,
  before: Watch,
  observed: AppObserved,
): { readonly watch: Watch | undefined; readonly trouble?: Trouble } {
  const watch = fold(app, heldUp(before, observed, isHeldUp(app, before, observed)), observed);
  const reason = crashLoop(watch, status, observed) ?? burning(app, watch, observed);
  if (reason !== undefined) {
    const name = app.name.split("/")[1];
    const hint = `holdfast rollout ${name}; holdfast logs ${name} --release ${watch.placement.set.release}`;
    return { watch: undefined, trouble: { watch, failure: { reason, hint, log: [] } } };
  }
  const isOver =
    watch.through >= watch.until ||
    observed.now >= watch.until + 2 * WATCH_LAG_MS ||
    !isSameSet(status.serving?.set, watch.placement.set);
  return { watch: isOver ? undefined : watch };
}

/** After a clock that went back: as long as before from now on, and nothing counted twice. */
export function watchInTime(watch: Watch, now: number): Watch {
  if (watch.since <= now && watch.through <= now) return watch;
  const ahead = Math.max(watch.since, watch.through) - now;
  return {
    ...watch,
    since: Math.min(watch.since, now),
    through: Math.min(watch.through, now),
    until: watch.until - ahead,
  };
}

/** Skips what came while the platform holds the release up, and what is not yet counted then. */
function heldUp(watch: Watch, { now }: AppObserved, is: boolean): Watch {
  const { isHeldUp: was = false, heldUp: times = 0, ...rest } = watch;
  const isExcused = is && times + (was ? 0 : 1) <= HELD_UP_MAX;
  if (!isExcused && !was) return watch;
  const counted = is && !was ? times + 1 : times;
  return { ...rest, through: now, heldUp: counted, ...(isExcused && { isHeldUp: true }) };
}

/**
 * Whether requests fail for another reason than the release: a store of it is away or was started
 * since the last count, or one of its services has nothing that serves because it is being started,
 * as after a reboot. What ended by itself, or is not ready in its time, is its own.
 */
function isHeldUp(app: App, { placement, through }: Watch, observed: AppObserved): boolean {
  const { stores } = observed;
  if (!stores.ready || stores.startedAt > through) return true;
  const manifest = observed.releases.get(placement.set.release)?.spec.manifest;
  const wanted = wantedIn(app, placement, observed);
  return Object.keys(manifest?.services ?? {}).some((service) => {
    const own = wanted.filter(({ component }) => component.name === service);
    return own.length > 0 && own.every((one) => isBeingStarted(one, observed, manifest));
  });
}

function isBeingStarted(
  wanted: WantedInstance,
  observed: AppObserved,
  manifest: Manifest | undefined,
): boolean {
  const instance = findInstance(observed, wanted.name);
  if (!instance) return true;
  const ended = instance.exits.at(-1);
  // The end of one that was stopped with everything else is not among its own.
  if (instance.state === "exited") return ended?.at !== instance.exit?.at;
  if (isReady(wanted, observed) || !manifest) return false;
  const { now } = observed;
  const isOwnRestart =
    ended !== undefined &&
    instance.startedAt - ended.at < RESTART_SEEN_MS + restartDelay(instance, now);
  return !isOwnRestart && now - instance.startedAt < graceMsOf(manifest, wanted.component.name);
}

function fold(app: App, watch: Watch, observed: AppObserved): Watch {
  const { watched } = observed;
  if (!watched || watched.until <= watch.through) return watch;
  const burn = { ...watch.burn };
  const seen = { ...watch.seen };
  const ahead = { ...watch.ahead };
  for (const objective of objectives(app, watch, observed)) {
    const key = objectiveKey(objective);
    const waiting = watched.waiting?.[key] ?? 0;
    const ended = watched.seen[key] ?? { total: 0, bad: 0 };
    const slow = countAhead(ended.bad, waiting, ahead[key] ?? 0);
    const isLatency = objective.kind === "latency";
    const block = isLatency
      ? { total: ended.total - ended.bad + slow.counted, bad: slow.counted }
      : ended;
    if (isLatency) ahead[key] = slow.ahead;
    const limit = limitOf(objective, (watch.before ?? watched.before)?.[key]);
    // An alternative beyond what can be is half way there.
    const effects = EFFECTS.map((times) => Math.min((1 + limit) / 2, limit * times));
    // Of an earlier build, which kept it in another way: it is collected anew.
    const evidence = burn[key]?.nulls?.[0] ?? noEvidence(effects.length);
    const own = burn[key]?.nulls ? burn[key] : undefined;
    burn[key] = withNulls(own, [exceedBlock(evidence, block, limit, effects)], watched.until);
    const known = seen[key] ?? { total: 0, bad: 0 };
    seen[key] = { total: known.total + block.total, bad: known.bad + block.bad };
  }
  return {
    ...watch,
    through: watched.until,
    burn,
    seen,
    ahead,
    ...(watched.before && { before: watched.before }),
    ...(watched.design && { design: watched.design }),
  };
}

function objectives(app: App, { placement }: Watch, observed: AppObserved): Objective[] {
  const manifest = observed.releases.get(placement.set.release)?.spec.manifest;
  const [environment = "", name = ""] = app.name.split("/");
  return manifest ? objectivesOf(environment, name, manifest) : [];
}

function crashLoop(
  { placement }: Watch,
  { history }: AppStatusFields,
  observed: AppObserved,
): string | undefined {
  const began = history[0]?.startedAt ?? 0;
  const looping = observed.instances.find(
    (one) =>
      one.labels.role !== "task" &&
      isSameSet(placement.set, one.labels) &&
      isCrashLoop(one, observed.now) &&
      one.exits.every(({ at }) => at >= began),
  );
  if (!looping) return undefined;
  return `${looping.labels.component} of release ${placement.set.release} ends again and again (${exitText(looping.exits.at(-1))})`;
}

function burning(app: App, watch: Watch, observed: AppObserved): string | undefined {
  for (const objective of objectives(app, watch, observed)) {
    const key = objectiveKey(objective);
    const seen = watch.seen[key];
    const evidence = watch.burn[key];
    if (!seen || !evidence?.nulls || seen.bad < BAD_MIN) continue;
    if (!isCertain(evidence, LEVEL, watch.design?.[key])) continue;
    const what = objective.kind === "latency" ? "were too slow" : "failed";
    return `the error budget of ${objective.service} burns: ${seen.bad} of ${seen.total} requests ${what} since release ${watch.placement.set.release} has them all`;
  }
  return undefined;
}
