// A rollout, from its beginning to its end. Each look moves it at most one phase on; who is judged by
// traffic goes through its stages in between (rollout-judge.ts).

import { canonicalJson } from "../../kernel/resource.ts";
import {
  type App,
  type AppStatusFields,
  HISTORY_MAX,
  isSameSet,
  otherSlot,
  type Placement,
  RELEASED_MAX,
  type Rollout,
  type RolloutFailure,
  setLabel,
  type Watch,
} from "./app.ts";
import {
  type AppObserved,
  countsFor,
  findInstance,
  isReady,
  manifestOf,
  policyOf,
  releaseTaskName,
  targetSet,
  trafficFor,
  wantedIn,
} from "./app-observed.ts";
import { withDelivery } from "./delivery.ts";
import { hold, letGo } from "./held-source.ts";
import { componentsOf } from "./manifest.ts";
import { judgeRehearsal, withTaken } from "./rehearsal.ts";
import { afterAbsence, notAhead } from "./rollout-clock.ts";
import { judgeStage } from "./rollout-judge.ts";
import type { Strategy } from "./rollout-policy.ts";
import type { Progress, Trouble } from "./rollout-progress.ts";
import { judgeReturn, returning } from "./rollout-return.ts";
import { candidateOf, stagesOf } from "./rollout-stages.ts";
import { judgeSmoke } from "./smoke-report.ts";
import {
  endedBySelf,
  exitedEarly,
  fail,
  judgeReleaseCommand,
  judgeStores,
  late,
  lateInstance,
  notHealthy,
  overdueText,
  startingText,
} from "./start-report.ts";
import { note } from "./timeline.ts";
import { allJoined } from "./traffic-plan.ts";

/** A release that served this recently needs no stages to come back. */
export const RECENT_MS = 7 * 86_400_000;

export function begin(app: App, status: AppStatusFields, observed: AppObserved): AppStatusFields {
  if (app.spec.release === 0 || app.generation <= status.settledGeneration) return status;
  const { reason } = app.spec;
  const set = targetSet(app);
  return beginOf(app, status, { set, generation: app.generation, reason }, observed);
}

/** Back to what served before, by itself. */
export function rollBack(
  app: App,
  status: AppStatusFields,
  { watch, failure }: Trouble,
  observed: AppObserved,
): AppStatusFields {
  const { generation, placement, previous } = watch;
  const isOfWatch = (one: Rollout): boolean =>
    one.generation === generation && one.placement.set.release === placement.set.release;
  const history = status.history.map(
    (one): Rollout =>
      isOfWatch(one) && one.outcome === "succeeded"
        ? { ...note(one, observed.now, failure.reason), outcome: "rolled-back", failure }
        : one,
  );
  const back = {
    set: previous.set,
    generation,
    reason: "rollback",
    automatic: failure.reason,
  } as const;
  const undone = history.find(isOfWatch);
  const deliveries = undone
    ? withDelivery(status.deliveries, undone, committedAt(undone, observed))
    : (status.deliveries ?? []);
  const [bad, good] = [placement.set.release, previous.set.release];
  const held = hold({ ...status, history, deliveries }, bad, good, failure.reason, observed);
  return beginOf(app, held, back, observed);
}

const committedAt = ({ placement }: Rollout, observed: AppObserved): number | undefined =>
  observed.releases.get(placement.set.release)?.spec.source.committedAt;

function beginOf(
  app: App,
  status: AppStatusFields,
  wanted: Pick<Rollout, "generation" | "reason" | "automatic"> & { set: Placement["set"] },
  observed: AppObserved,
): AppStatusFields {
  const { set, generation, reason, automatic } = wanted;
  const manifest = manifestOf(observed, set.release);
  if (!manifest) return status;
  const { now } = observed;
  const { watch, ...rest } = status;
  const counts = countsFor(app, manifest);
  const placement: Placement = { set, slot: slotFor(set, status), counts };
  const strategy = strategyFor(status, wanted, observed);
  const { serving } = status;
  const from = serving ? `, ${setLabel(serving.set)} serves` : "";
  const text = automatic
    ? `back to release ${set.release} by itself: ${automatic}`
    : `${reason} of release ${set.release} begins${from}${strategy === "blue-green" ? "" : `: ${strategy}`}`;
  const rollout: Rollout = {
    generation,
    reason,
    placement,
    phase: "building",
    phaseSince: now,
    startedAt: now,
    strategy,
    stages: stagesOf(
      { ...policyOf(observed, set.release), strategy },
      componentsOf(manifest),
      counts,
      serving?.counts ?? {},
    ),
    results: [],
    ...(serving && { from: serving.set.release }),
    ...(automatic !== undefined && { automatic }),
    timeline: [{ at: now, text }],
  };
  // More of the same release, or fresh instances of it, are watched on.
  const isSame = watch?.placement.set.release === set.release && automatic === undefined;
  const known = isSame ? { ...rest, watch } : rest;
  // What somebody goes back from is what they don't want.
  const isMeant = reason === "rollback" && automatic === undefined && !app.spec.holdsNothing;
  const left = isMeant ? serving?.set.release : undefined;
  const held =
    left !== undefined && left > set.release
      ? hold(known, left, set.release, `taken back to release ${set.release}`, observed)
      : known;
  return advance(app, { ...held, rollout }, rollout, observed);
}

// A first release has nothing to be compared with; other instances of the same one are no new
// release; and what served of late may come back at once.
function strategyFor(
  { serving, history }: AppStatusFields,
  { set, reason, automatic }: Pick<Rollout, "reason" | "automatic"> & { set: Placement["set"] },
  observed: AppObserved,
): Strategy {
  if (!serving || serving.set.release === set.release || automatic !== undefined)
    return "blue-green";
  const served = history.find(
    ({ outcome, placement }) => outcome === "succeeded" && placement.set.release === set.release,
  );
  const isRecent = observed.now - (served?.endedAt ?? 0) < RECENT_MS;
  const { strategy } = policyOf(observed, set.release);
  return reason === "rollback" && isRecent && strategy !== "recreate" ? "blue-green" : strategy;
}

// The set that serves is scaled where it is; a warm one is taken up where it waits.
function slotFor(set: Placement["set"], { serving, warm }: AppStatusFields): Placement["slot"] {
  if (!serving) return "a";
  if (isSameSet(serving.set, set)) return serving.slot;
  return isSameSet(warm?.set, set) && warm ? warm.slot : otherSlot(serving.slot);
}

export function advance(
  app: App,
  last: AppStatusFields,
  before: Rollout,
  observed: AppObserved,
): AppStatusFields {
  const rollout = afterAbsence(notAhead(before, observed.now), observed.now);
  const status = withReleased(app, last, rollout, observed);
  const progress =
    rollout.phase === "returning"
      ? judgeReturn(app, status, rollout, observed)
      : (aborted(app, rollout, observed) ?? judge(app, status, rollout, observed));
  if ("done" in progress) return succeed(status, rollout, observed);
  const known = progress.rollout ?? rollout;
  if ("failure" in progress) {
    const back = returning(status, known, progress, observed);
    return back
      ? { ...status, rollout: back }
      : end(status, known, observed, progress.failure, progress.outcome);
  }
  const { phase, text } = progress;
  const remembered = withTaken(status, known);
  const released =
    progress.released && !status.released.includes(rollout.placement.set.release)
      ? [...status.released, rollout.placement.set.release].slice(-RELEASED_MAX)
      : status.released;
  if (phase === rollout.phase) return { ...remembered, released, rollout: known };
  const moved = { ...note(known, observed.now, text ?? phase), phase, phaseSince: observed.now };
  return { ...remembered, released, rollout: moved };
}

// A release command that has run to its end has, also where its rollout is aborted before that was seen:
// it does not run again for the same release.
function withReleased(
  app: App,
  status: AppStatusFields,
  rollout: Rollout,
  observed: AppObserved,
): AppStatusFields {
  const { placement, generation } = rollout;
  const { release } = placement.set;
  const task = findInstance(observed, releaseTaskName(app, placement.set, generation));
  if (task?.exit?.code !== 0 || status.released.includes(release)) return status;
  const taken = withTaken(status, rollout);
  return { ...taken, released: [...status.released, release].slice(-RELEASED_MAX) };
}

// Always possible until the candidate carries everything. A rollback does not wait for what it is to
// undo.
function aborted(app: App, rollout: Rollout, observed: AppObserved): Progress | undefined {
  const { wish } = observed;
  if (wish?.generation === rollout.generation && wish.wish === "abort" && !rollout.automatic) {
    const reason = `aborted by ${wish.by}${wish.reason === undefined ? "" : `: ${wish.reason}`}`;
    return { ...fail(reason, `fix it, then holdfast deploy`), outcome: "aborted" };
  }
  const isOvertaken = app.generation > rollout.generation && app.spec.reason === "rollback";
  if (!isOvertaken || rollout.reason === "rollback") return undefined;
  return {
    ...fail(`a rollback to release ${app.spec.release} was asked for`, "holdfast rollout"),
    outcome: "aborted",
  };
}

function judge(
  app: App,
  status: AppStatusFields,
  rollout: Rollout,
  observed: AppObserved,
): Progress {
  const { set } = rollout.placement;
  const release = observed.releases.get(set.release);
  if (!release) return fail(`release ${set.release} is not there any more`, "holdfast releases");
  if (release.status?.phase === "failed" && release.status.failure) {
    return { failure: release.status.failure };
  }
  if (release.status?.phase !== "ready") return { phase: "building" };
  const { manifest } = release.spec;
  if (!observed.stores.ready) return judgeStores(rollout, observed);
  const released = status.released.includes(set.release);
  if (manifest.release && !released) {
    const progress =
      judgeRehearsal(app, rollout, observed) ??
      judgeReleaseCommand(app, rollout, manifest.release.timeout, observed);
    if (progress) return progress;
  }
  return (
    judgeStopped(app, status, rollout, observed) ?? judgeInstances(app, status, rollout, observed)
  );
}

// One writer at a time: nothing of the new release starts while anything of the old one runs.
function judgeStopped(
  app: App,
  { serving }: AppStatusFields,
  rollout: Rollout,
  observed: AppObserved,
): Progress | undefined {
  const isBefore = ["building", "stores", "rehearsal", "release-command", "stopping"].includes(
    rollout.phase,
  );
  if (rollout.strategy !== "recreate" || !isBefore || !serving) return undefined;
  const running = wantedIn(app, serving, observed).filter(
    ({ name }) => findInstance(observed, name)?.state === "running",
  );
  if (running.length === 0) return undefined;
  const text = `release ${serving.set.release} ends before ${rollout.placement.set.release} starts`;
  return { phase: "stopping", text, released: true };
}

function judgeInstances(
  app: App,
  status: AppStatusFields,
  rollout: Rollout,
  observed: AppObserved,
): Progress {
  const isBegun = candidateOf(rollout) !== undefined;
  const candidate = candidateOf(isBegun ? rollout : { ...rollout, phase: "starting" });
  const wanted = wantedIn(app, candidate, observed);
  const isExposed = ["stepping", "completing", "shifting"].includes(rollout.phase);
  const exited = wanted.find(({ name }) => endedBySelf(findInstance(observed, name), rollout));
  if (exited && !isExposed) return exitedEarly(app, exited, observed);
  const notReady = wanted.filter((one) => !isReady(one, observed));
  // Those of the stage that is entered, too, have their time to become ready.
  const isEntering =
    rollout.phase === "completing" ||
    (rollout.phase === "stepping" && rollout.stageSince === undefined);
  const overdue = lateInstance(
    isEntering ? { ...rollout, phase: "starting" } : rollout,
    notReady,
    observed,
  );
  if (overdue) return notHealthy(app, overdue, observed);
  if (rollout.phase === "stepping")
    return judgeStage(app, status, rollout, notReady.length === 0, observed);
  if (notReady.length > 0) {
    // A stage wants fewer than the whole: the rest starts before everything moves.
    const phase = isExposed && rollout.stages.length > 0 ? "completing" : "starting";
    return { phase, text: startingText(wanted, observed), released: true };
  }
  return judgeReady(app, rollout, wanted.length, observed);
}

function judgeReady(app: App, rollout: Rollout, total: number, observed: AppObserved): Progress {
  const ready = `${total} of ${total} ready`;
  const policy = policyOf(observed, rollout.placement.set.release);
  if (rollout.phase !== "shifting" && rollout.phase !== "completing") {
    const smoke = rollout.passedSmoke ? undefined : judgeSmoke(app, rollout, policy, observed);
    if (smoke) return { ...smoke, released: true } as Progress;
    const preview = judgePreview(rollout, policy.preview, observed);
    const overdue = preview && overdueText(rollout, policy, observed);
    if (overdue !== undefined) return fail(overdue, "holdfast deploy, once it is decided");
    if (preview) return preview;
    if (rollout.stages.length > 0)
      return {
        phase: "stepping",
        text: `${ready}, goes through ${rollout.stages.length} stages`,
        released: true,
        rollout: { ...rollout, stage: 0, passedSmoke: true },
      };
  }
  if (isInCharge(app, rollout.placement, observed)) return { done: true };
  const stuck = late(rollout, "shifting", "could not get the traffic", observed);
  if (stuck) return stuck;
  return { phase: "shifting", text: `${ready}, traffic moves`, released: true };
}

function judgePreview(
  rollout: Rollout,
  preview: number | "ask" | undefined,
  { now, wish }: AppObserved,
): Progress | undefined {
  const { phase, phaseSince, strategy, passedPreview } = rollout;
  const isWanted = preview !== undefined && strategy === "blue-green" && rollout.from !== undefined;
  if (!isWanted || passedPreview || rollout.reason === "rollback") return undefined;
  const own = wish?.generation === rollout.generation ? wish.wish : undefined;
  if (phase !== "preview") {
    const until = preview === "ask" ? "until somebody says so" : `for ${preview / 1000} s`;
    const text = `shown at its preview address ${until}`;
    return { phase: "preview", text, released: true, rollout: { ...rollout, passedSmoke: true } };
  }
  if (own === "pause") return { phase };
  const isOver = preview !== "ask" && now - phaseSince >= preview;
  if (!isOver && own !== "promote" && own !== "resume") return { phase };
  return { phase: "shifting", text: "traffic moves", rollout: { ...rollout, passedPreview: true } };
}

/** The edge sends everything there. An app that serves nothing is in charge once it is ready. */
function isInCharge(app: App, placement: Placement, observed: AppObserved): boolean {
  const manifest = manifestOf(observed, placement.set.release);
  if (!manifest) return false;
  const wanted = trafficFor(placement, manifest);
  if (Object.keys(wanted.slots).length === 0) return true;
  const isWhole = canonicalJson(observed.edge?.traffic) === canonicalJson(wanted);
  return isWhole && allJoined(app, placement, observed);
}

function succeed(
  status: AppStatusFields,
  rollout: Rollout,
  observed: AppObserved,
): AppStatusFields {
  const { placement } = rollout;
  const { now } = observed;
  const previous = status.serving;
  const isNewRelease = previous !== undefined && previous.set.release !== placement.set.release;
  const watch = isNewRelease && previous ? watchOf(rollout, previous, observed) : undefined;
  const keepWarmMs = Math.max(
    manifestOf(observed, previous?.set.release ?? 0)?.keepWarm ?? 0,
    watch ? watch.until - now : 0,
  );
  const ended = end(
    status,
    note(rollout, now, `release ${placement.set.release} carries all traffic`),
    observed,
  );
  const { warm: oldWarm, watch: before, ...rest } = letGo(ended, placement.set.release, observed);
  const watched = watch ?? (before && !isNewRelease ? { ...before, placement } : undefined);
  const since = isSameSet(previous?.set, placement.set) ? (previous?.since ?? now) : now;
  const next: AppStatusFields = {
    ...rest,
    serving: { ...placement, since },
    ...(watched && { watch: watched }),
  };
  // What was taken back by itself is not kept for an instant return.
  const isFit = rollout.automatic === undefined && rollout.strategy !== "recreate";
  if (isNewRelease && previous && keepWarmMs > 0 && isFit) {
    const { since: _, ...warm } = previous;
    return { ...next, warm: { ...warm, until: now + keepWarmMs } };
  }
  // Scaling what serves leaves the warm set alone; anything else has taken its slot.
  return isSameSet(previous?.set, placement.set) && oldWarm ? { ...next, warm: oldWarm } : next;
}

function watchOf(
  { placement, generation, reason, exposedAt }: Rollout,
  { since: _, ...previous }: Placement & { since: number },
  observed: AppObserved,
): Watch | undefined {
  const { now } = observed;
  const { watch: watchMs } = policyOf(observed, placement.set.release);
  if (watchMs === 0 || reason === "rollback") return undefined;
  const until = now + watchMs;
  return {
    ...{ generation, placement, previous, until, burn: {}, seen: {} },
    ...{ exposedAt: exposedAt ?? now, since: now, through: now },
  };
}

function end(
  status: AppStatusFields,
  rollout: Rollout,
  observed: AppObserved,
  failure?: RolloutFailure,
  outcome: "failed" | "aborted" = "failed",
): AppStatusFields {
  const { rollout: _, ...rest } = status;
  const noted = failure ? note(rollout, observed.now, `${outcome}: ${failure.reason}`) : rollout;
  const { judgement: __, ...kept } = noted;
  const ended: Rollout = {
    ...kept,
    endedAt: observed.now,
    outcome: failure ? outcome : "succeeded",
    ...(failure && { failure }),
  };
  const isSeen = failure !== undefined && rollout.exposedAt !== undefined;
  const { set } = rollout.placement;
  const held = isSeen ? hold(rest, set.release, rollout.from, failure.reason, observed) : rest;
  return {
    ...held,
    settledGeneration: Math.max(status.settledGeneration, rollout.generation),
    deliveries: withDelivery(status.deliveries, ended, committedAt(ended, observed)),
    history: [ended, ...status.history].slice(0, HISTORY_MAX),
  };
}
