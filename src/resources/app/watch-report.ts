// The time after a release got everything. What no canary showed, or none was asked for, shows here:
// a crash loop, or an error budget that burns so fast that it would be gone in two days. Then the
// release is taken back by itself. What burned before already is not its fault.

import type { App, AppStatusFields, Watch } from "./app.ts";
import { isSameSet } from "./app.ts";
import type { AppObserved } from "./app-observed.ts";
import { isCrashLoop } from "./crash-backoff.ts";
import { exitText } from "./instance-exit.ts";
import { exceedBlock, noEvidence, refutes, type Tally } from "./judgement/sequential-test.ts";
import { type Objective, objectivesOf } from "./objectives.ts";
import type { Trouble } from "./rollout-report.ts";

/** At this rate a budget of thirty days is gone in two: the usual page of the trade. */
const BURN = 14.4;
const EFFECTS = [2, 5, 20] as const;
/** Wrongly, in one of so many releases at most. */
const LEVEL = 0.001;
const BAD_MIN = 10;
/** Before, this part of the limit already: it is not the release. */
const BURNED_BEFORE = 0.5;

/** Name of an objective among those of an app. */
export const objectiveKey = ({ kind, service }: Objective): string => `${kind} ${service}`;

const limitOf = ({ target }: Objective): number => Math.min(0.9, (1 - target) * BURN);

export function reportWatch(
  app: App,
  status: AppStatusFields,
  before: Watch,
  observed: AppObserved,
): { readonly watch: Watch | undefined; readonly trouble?: Trouble } {
  const watch = fold(app, before, observed);
  const reason = crashLoop(watch, status, observed) ?? burning(app, watch, observed);
  if (reason !== undefined) {
    const name = app.name.split("/")[1];
    const hint = `holdfast rollout ${name}; holdfast logs ${name} --release ${watch.placement.set.release}`;
    return { watch: undefined, trouble: { watch, failure: { reason, hint, log: [] } } };
  }
  const isOver =
    observed.now >= watch.until || !isSameSet(status.serving?.set, watch.placement.set);
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

function fold(app: App, watch: Watch, observed: AppObserved): Watch {
  const { watched } = observed;
  if (!watched || watched.until <= watch.through) return watch;
  const burn = { ...watch.burn };
  const seen = { ...watch.seen };
  for (const objective of objectives(app, watch, observed)) {
    const key = objectiveKey(objective);
    const block = watched.seen[key];
    if (!block) continue;
    const limit = limitOf(objective);
    const effects = EFFECTS.map((times) => Math.min(0.95, limit * times));
    burn[key] = exceedBlock(burn[key] ?? noEvidence(effects.length), block, limit, effects);
    const known = seen[key] ?? { total: 0, bad: 0 };
    seen[key] = { total: known.total + block.total, bad: known.bad + block.bad };
  }
  return {
    ...watch,
    through: watched.until,
    burn,
    seen,
    ...(watched.before && { before: watched.before }),
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
    const limit = limitOf(objective);
    const seen = watch.seen[key];
    const evidence = watch.burn[key];
    if (!seen || !evidence || seen.bad < BAD_MIN || !refutes(evidence, LEVEL)) continue;
    const earlier = watch.before?.[key];
    if (earlier && rate(earlier) > limit * BURNED_BEFORE) continue;
    const what = objective.kind === "latency" ? "were too slow" : "failed";
    return `the error budget of ${objective.service} burns: ${seen.bad} of ${seen.total} requests ${what} since release ${watch.placement.set.release} has them all`;
  }
  return undefined;
}

const rate = ({ total, bad }: Tally): number => bad / Math.max(1, total);
