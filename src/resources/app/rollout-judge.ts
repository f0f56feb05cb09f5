// A rollout's stages: give the candidate its share, see that the edge gives it, judge what users got,
// go on, wait, ask or abort.

import type { App, AppStatusFields, Rollout, StageResult, Verdict } from "./app.ts";
import { type AppObserved, policyOf } from "./app-observed.ts";
import { DOUBT, findingsOf } from "./judgement/findings.ts";
import {
  beginJudgement,
  candidateRequests,
  FORMAT,
  foldBlock,
  type Judgement,
  trendsOf,
  withArms,
  withDesign,
} from "./judgement/judgement.ts";
import { foldMetrics, metricTrouble } from "./metric-judge.ts";
import { type RolloutPolicy, WHOLE } from "./rollout-policy.ts";
import type { Progress } from "./rollout-progress.ts";
import { fail, late, overdueText } from "./start-report.ts";
import { note } from "./timeline.ts";
import { foldVitals, vitalTrouble } from "./vitals-judge.ts";

export function judgeStage(
  app: App,
  status: AppStatusFields,
  before: Rollout,
  isReady: boolean,
  observed: AppObserved,
): Progress {
  const policy = policyOf(observed, before.placement.set.release);
  const rollout = fold(inTime(before, observed), policy, observed);
  const reason =
    vitalTrouble(app, status, rollout, observed) ??
    metricTrouble(rollout, policy) ??
    certainFinding(rollout, policy);
  if (reason !== undefined) return failed(app, rollout, reason, observed);
  const overdue = overdueText(rollout, policy, observed);
  if (overdue !== undefined) return failed(app, rollout, overdue, observed);
  const own = observed.wish?.generation === rollout.generation ? observed.wish : undefined;
  if (own?.wish === "promote") return toEverything(rollout, `promoted by ${own.by}`, observed);
  if (rollout.stageSince === undefined) return enterStage(rollout, isReady, observed);
  return leaveStage(rollout, policy, observed);
}

// A clock that went back: what was measured by it so far says nothing any more.
function inTime(rollout: Rollout, { now }: AppObserved): Rollout {
  const { stageSince, judgement } = rollout;
  const isAhead = (at: number | undefined): boolean => at !== undefined && at > now;
  if (!isAhead(stageSince) && !isAhead(judgement?.through)) return rollout;
  const again = { ...withoutStage(rollout), stageSince: now };
  return note(again, now, "the clock went back: this stage begins again");
}

function fold(rollout: Rollout, policy: RolloutPolicy, observed: AppObserved): Rollout {
  const withVitals = foldVitals(rollout, observed);
  const { comparison } = observed;
  if (!comparison || rollout.stageSince === undefined) return withVitals;
  if ("baseline" in comparison) {
    const { baseline, cold, since } = comparison;
    const share = (rollout.perMille ?? 0) / WHOLE;
    const { trends, stages, stage = 0 } = rollout;
    const plannedMs = stages[stage]?.forMs ?? 0;
    const begun = beginJudgement(since, {
      arms: baseline,
      ...(cold && { cold }),
      ...{ share, plannedMs },
      ...(trends && { trends }),
    });
    return { ...withVitals, judgement: begun };
  }
  const { judgement, from, placement } = rollout;
  // Of an earlier build, which kept its evidence in another way: this stage is judged anew.
  if (judgement && judgement.format !== FORMAT) {
    const { judgement: _, ...rest } = withVitals;
    return { ...rest, stageSince: observed.now };
  }
  if (!judgement || comparison.until <= judgement.through) return withVitals;
  const sides = (arms: NonNullable<typeof comparison.arms>) => ({
    serving: arms.filter(({ release }) => release === from),
    candidate: arms.filter(({ release }) => release === placement.set.release),
  });
  const folded = foldBlock(judgement, sides(comparison.block), comparison.until, policy.analysis);
  const shown = comparison.arms ? withArms(folded, sides(comparison.arms)) : folded;
  const next = comparison.clustered ? withDesign(shown, comparison.clustered) : shown;
  return foldMetrics({ ...withVitals, judgement: next }, policy, comparison.metrics, observed.now);
}

const judgedStages = ({ stages }: Rollout): number =>
  stages.filter(({ perMille }) => perMille > 0).length;

function certainFinding(rollout: Rollout, { analysis }: RolloutPolicy): string | undefined {
  if (!rollout.judgement) return undefined;
  const { certain } = findingsOf(rollout.judgement, analysis, judgedStages(rollout));
  return certain.length > 0 ? certain.map(({ text }) => text).join("; ") : undefined;
}

// --- into a stage, and out of it

// First its instances are ready, then it is given its share, then the edge is seen to give it.
function enterStage(rollout: Rollout, isReady: boolean, observed: AppObserved): Progress {
  const stage = rollout.stages[rollout.stage ?? 0];
  if (!stage) return { phase: "shifting" };
  // Also where the share stays as it is: more of it may be wanted to give it.
  if (!isReady) return { phase: "stepping", rollout };
  if (rollout.perMille !== stage.perMille) {
    const text = `${stage.perMille / 10} % of requests go to release ${rollout.placement.set.release}`;
    return {
      phase: "stepping",
      rollout: note({ ...rollout, perMille: stage.perMille }, observed.now, text),
    };
  }
  const given = observed.edge?.traffic?.candidate;
  const isServiceless = Object.keys(observed.edge?.declaration?.services ?? {}).length === 0;
  if (given?.perMille !== stage.perMille && !isServiceless)
    return (
      late({ ...rollout, phase: "shifting" }, "shifting", "could not get its share", observed) ?? {
        phase: "stepping",
        rollout,
      }
    );
  const { now } = observed;
  const exposedAt = rollout.exposedAt ?? (stage.perMille > 0 ? now : undefined);
  return {
    phase: "stepping",
    rollout: {
      ...withoutStage(rollout),
      stageSince: now,
      ...(exposedAt !== undefined && { exposedAt }),
    },
  };
}

function leaveStage(rollout: Rollout, policy: RolloutPolicy, observed: AppObserved): Progress {
  const stage = rollout.stages[rollout.stage ?? 0];
  const { now, wish } = observed;
  const own = wish?.generation === rollout.generation ? wish : undefined;
  const hasSaidGo = own?.wish === "resume" && own.stage === rollout.stage;
  const times = rollout.inconclusive === "extended" ? 2 : 1;
  const isOver = now - (rollout.stageSince ?? now) >= (stage?.forMs ?? 0) * times;
  if (own?.wish === "pause" || !isOver) return { phase: "stepping", rollout };
  if (rollout.strategy === "rolling" || stage?.perMille === 0)
    return nextStage(rollout, "pass", "its instances are ready", observed);
  const said = verdictOf(rollout, policy);
  const { verdict, reason } = said;
  if (verdict === "pass") return nextStage(rollout, verdict, reason, observed);
  if (hasSaidGo) return nextStage(rollout, verdict, `${reason}; ${own.by} said to go on`, observed);
  return inconclusive(rollout, policy, said, observed);
}

interface StageVerdict {
  readonly verdict: Verdict;
  readonly reason: string;
  /** There is evidence that it is worse, if not enough: it is not let pass without somebody's word. */
  readonly isDoubtful?: boolean;
}

/** What is to be said of the stage so far, where nothing is certain against the candidate. */
export function verdictOf(rollout: Rollout, { analysis }: RolloutPolicy): StageVerdict {
  const { judgement } = rollout;
  if (!judgement) return { verdict: "inconclusive", reason: "telemetry does not answer" };
  const { possible } = findingsOf(judgement, analysis, judgedStages(rollout));
  const blind = Object.values(rollout.metrics ?? {}).find(({ candidate }) => candidate === null);
  const isDoubtful = possible.some(({ odds }) => odds >= DOUBT);
  if (possible.length > 0)
    return {
      verdict: "inconclusive",
      reason: `it may be worse: ${possible.map(({ text }) => text).join("; ")}`,
      isDoubtful,
    };
  const open = notJudged(rollout, judgement, analysis.minRequests);
  if (open !== undefined) return { verdict: "inconclusive", reason: open };
  if (blind) return { verdict: "inconclusive", reason: blind.text };
  const requests = candidateRequests(judgement);
  return { verdict: "pass", reason: `nothing speaks against it in ${requests} requests` };
}

/** What was not seen enough of, in words. */
function notJudged(
  { placement }: Rollout,
  judgement: Judgement,
  minRequests: number,
): string | undefined {
  const { release } = placement.set;
  if (candidateRequests(judgement) === 0)
    return `0 requests to release ${release}; fewer than ${minRequests} say nothing`;
  for (const [service, { serving, candidate }] of Object.entries(judgement.arms)) {
    if (serving.requests === 0) continue;
    if (candidate.requests < minRequests)
      return `${candidate.requests} requests to ${service} of release ${release}; fewer than ${minRequests} say nothing`;
    if (serving.timed > 0 && candidate.timed === 0)
      return `no answer of ${service} of release ${release} was timed: its warm-up is as long as this stage`;
  }
  return undefined;
}

function inconclusive(
  rollout: Rollout,
  { analysis }: RolloutPolicy,
  { reason, isDoubtful = false }: StageVerdict,
  observed: AppObserved,
): Progress {
  const { inconclusive: before } = rollout;
  const how = analysis.inconclusive;
  if (how === "wait") return { phase: "stepping", rollout };
  // More time is given once; after that what may be worse is not let pass for want of requests.
  if (how === "ask" || before === "asked" || (before === "extended" && isDoubtful)) {
    if (before === "asked") return { phase: "stepping", rollout };
    const text = `${reason}; somebody has to say whether to go on`;
    return {
      phase: "stepping",
      rollout: note({ ...rollout, inconclusive: "asked" }, observed.now, text),
    };
  }
  if (before === "extended") return nextStage(rollout, "inconclusive", reason, observed);
  const text = `${reason}; this stage gets as much time again`;
  return {
    phase: "stepping",
    rollout: note({ ...rollout, inconclusive: "extended" }, observed.now, text),
  };
}

function nextStage(
  rollout: Rollout,
  verdict: Verdict,
  reason: string,
  observed: AppObserved,
): Progress {
  const results = [...rollout.results, resultOf(rollout, verdict, reason, observed)];
  const next = (rollout.stage ?? 0) + 1;
  const text = `${verdict}: ${reason}`;
  const moved = note({ ...withoutStage(rollout), results }, observed.now, text);
  if (next >= rollout.stages.length)
    return {
      phase: "completing",
      text: "all of its stages are behind it",
      rollout: moved,
    };
  return { phase: "stepping", rollout: { ...moved, stage: next, phaseSince: observed.now } };
}

// What is known of one stage is no news of the next, but for what is getting quicker.
function withoutStage(rollout: Rollout): Rollout {
  const { stageSince: _, judgement, inconclusive: __, ...rest } = rollout;
  return { ...rest, ...(judgement && { trends: trendsOf(judgement) }) };
}

function toEverything(rollout: Rollout, text: string, observed: AppObserved): Progress {
  const results = [...rollout.results, resultOf(rollout, "inconclusive", text, observed)];
  return { phase: "completing", text, rollout: { ...rollout, results } };
}

function failed(app: App, rollout: Rollout, reason: string, observed: AppObserved): Progress {
  const results = [...rollout.results, resultOf(rollout, "fail", reason, observed)];
  const name = app.name.split("/")[1];
  return {
    ...fail(
      reason,
      `holdfast rollout ${name} shows both releases; holdfast logs ${name} --release ${rollout.placement.set.release}`,
    ),
    rollout: { ...rollout, results },
  };
}

function resultOf(
  { stages, stage = 0, stageSince, phaseSince, judgement, perMille = 0 }: Rollout,
  verdict: Verdict,
  reason: string,
  { now }: AppObserved,
): StageResult {
  return {
    perMille: stages[stage]?.perMille ?? perMille,
    since: stageSince ?? phaseSince,
    until: now,
    verdict,
    reason,
    arms: judgement?.arms ?? {},
  };
}
