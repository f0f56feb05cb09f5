// A rollout as people see it: where it stands, what both releases do side by side, what is to be said
// of it so far and why.

import type { ResultTable } from "../kernel/signal.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import type { App, Rollout, StageResult, Verdict } from "../resources/app/app.ts";
import type { ArmSummary } from "../resources/app/judgement/arms.ts";
import { findingsOf } from "../resources/app/judgement/findings.ts";
import type { Manifest } from "../resources/app/manifest.ts";
import { verdictOf } from "../resources/app/rollout-judge.ts";
import { defaultRollout } from "../resources/app/rollout-policy.ts";
import { candidateKey } from "../resources/app/traffic-plan.ts";
import type { RolloutWish } from "../resources/rollout/rollout.ts";

export type { ArmSummary };

const BUCKETS = 60;

export interface StageView {
  readonly perMille: number;
  readonly forMs: number;
  readonly state: "done" | "now" | "ahead";
  readonly result?: StageResult;
}

export interface RolloutView {
  readonly app: string;
  readonly environment: string;
  readonly release: number;
  /** Release that it is compared with. */
  readonly from?: number;
  readonly generation: number;
  readonly reason: Rollout["reason"];
  readonly strategy: Rollout["strategy"];
  readonly phase: Rollout["phase"] | "watching" | "ended";
  readonly outcome?: Rollout["outcome"];
  readonly failure?: Rollout["failure"];
  readonly startedAt: number;
  readonly endedAt?: number;
  /** Of 1,000 requests, those that it gets now. */
  readonly perMille: number;
  readonly paused: boolean;
  readonly asked: boolean;
  readonly stages: readonly StageView[];
  /** Service → both releases, over the stage under way. */
  readonly arms: Readonly<Record<string, { serving: ArmSummary; candidate: ArmSummary }>>;
  readonly metrics: NonNullable<Rollout["metrics"]>;
  readonly verdict: { readonly verdict: Verdict | "judging"; readonly reason: string };
  /** ms until the stage's time is over, and until everything has moved if nothing holds it up. */
  readonly stageLeftMs?: number;
  readonly leftMs?: number;
  /** Until when it is taken back by itself. */
  readonly watchedUntil?: number;
  /** What leads a request to the candidate. */
  readonly key?: string;
  readonly timeline: Rollout["timeline"];
  readonly automatic?: string;
}

export function rolloutView(
  app: App,
  rollout: Rollout,
  manifest: Manifest | undefined,
  wish: RolloutWish | undefined,
  now: number,
): RolloutView {
  const policy = manifest?.rollout ?? defaultRollout;
  const isRunning = rollout.outcome === undefined;
  const watch = app.status?.watch;
  const isWatched = watch?.generation === rollout.generation && rollout.outcome === "succeeded";
  const last = rollout.results?.at(-1);
  const [environment = "", name = ""] = app.name.split("/");
  const left = isRunning ? timeLeft(rollout, now) : {};
  return {
    app: name,
    environment,
    release: rollout.placement.set.release,
    ...(rollout.from !== undefined && { from: rollout.from }),
    generation: rollout.generation,
    reason: rollout.reason,
    strategy: rollout.strategy,
    phase: isRunning ? rollout.phase : isWatched ? "watching" : "ended",
    ...(rollout.outcome && { outcome: rollout.outcome }),
    ...(rollout.failure && { failure: rollout.failure }),
    startedAt: rollout.startedAt,
    ...(rollout.endedAt !== undefined && { endedAt: rollout.endedAt }),
    perMille: isRunning ? shareNow(app, rollout) : rollout.outcome === "succeeded" ? 1_000 : 0,
    paused: isRunning && wish?.generation === rollout.generation && wish.wish === "pause",
    asked: rollout.inconclusive === "asked",
    stages: (rollout.stages ?? []).map(({ perMille, forMs }, index) => {
      const result = rollout.results?.[index];
      const isNow = isRunning && rollout.phase === "stepping" && index === rollout.stage;
      const state = result ? "done" : isNow ? "now" : "ahead";
      return { perMille, forMs, state, ...(result && { result }) };
    }),
    arms: rollout.judgement?.arms ?? last?.arms ?? {},
    metrics: rollout.metrics ?? {},
    verdict: verdictSoFar(rollout, policy),
    ...left,
    ...(isWatched && { watchedUntil: watch.until }),
    ...(isRunning && rollout.from !== undefined && { key: candidateKey(app, rollout, policy) }),
    timeline: rollout.timeline,
    ...(rollout.automatic !== undefined && { automatic: rollout.automatic }),
  };
}

// The edge's own word, as it was last seen, is in the spec of traffic; this is what it was given.
function shareNow({ status }: App, { phase, perMille = 0, placement }: Rollout): number {
  if (phase === "shifting" && status?.serving?.slot === placement.slot) return 1_000;
  return ["stepping", "completing", "returning"].includes(phase) ? perMille : 0;
}

function timeLeft(rollout: Rollout, now: number): { stageLeftMs?: number; leftMs?: number } {
  const { phase, stages, stage = 0, stageSince, inconclusive } = rollout;
  if (phase !== "stepping") return {};
  const times = inconclusive === "extended" ? 2 : 1;
  const own = (stages[stage]?.forMs ?? 0) * times;
  const stageLeftMs = Math.max(0, own - (now - (stageSince ?? now)));
  const ahead = stages.slice(stage + 1).reduce((sum, { forMs }) => sum + forMs, 0);
  return { stageLeftMs, leftMs: stageLeftMs + ahead };
}

function verdictSoFar(rollout: Rollout, policy: Manifest["rollout"]): RolloutView["verdict"] {
  const { outcome, failure, judgement, phase } = rollout;
  if (outcome !== undefined) {
    const last = rollout.results?.at(-1);
    if (outcome === "succeeded")
      return last
        ? { verdict: last.verdict, reason: last.reason }
        : { verdict: "pass", reason: "all of it is ready; its strategy judges no traffic" };
    return { verdict: "fail", reason: failure?.reason ?? outcome };
  }
  if (rollout.returning) return { verdict: "fail", reason: rollout.returning.failure.reason };
  if (phase !== "stepping" || !judgement)
    return { verdict: "judging", reason: "nothing to judge by yet" };
  const { possible } = findingsOf(judgement, policy.analysis, rollout.stages.length);
  const soFar = verdictOf(rollout, policy);
  if (possible.length > 0)
    return {
      verdict: "judging",
      reason: `may be worse: ${possible.map(({ text }) => text).join("; ")}`,
    };
  return { verdict: "judging", reason: soFar.reason };
}

/** A point of a chart: one release in one stretch of the rollout. */
export interface SeriesPoint {
  /** ms since the epoch, the middle of the stretch. */
  readonly at: number;
  readonly release: number;
  readonly requests: number;
  readonly errors: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
}

/** What both releases did over the rollout's time; empty where telemetry knows nothing any more. */
export async function rolloutSeries(
  { telemetry }: OperationDeps,
  view: RolloutView,
  now: number,
): Promise<readonly SeriesPoint[]> {
  const from = view.startedAt;
  const to = Math.max(from + 1_000, view.watchedUntil ?? view.endedAt ?? now);
  const bucketMs = Math.max(1_000, Math.ceil((to - from) / BUCKETS));
  const releases = [view.release, view.from ?? view.release].map(Number).join(", ");
  const sql = `
    SELECT floor((epoch_ms(time) - ${from}) / ${bucketMs}) AS bucket, release,
           count(*) AS requests, count(*) FILTER (failed = 1) AS errors,
           quantile_cont(latency_ms, 0.5) AS p50, quantile_cont(latency_ms, 0.95) AS p95
    FROM requests
    WHERE app = '${view.app}' AND release IN (${releases}) AND route <> 'tester'
    GROUP BY ALL ORDER BY bucket, release`;
  const question = {
    sql,
    environment: view.environment,
    from,
    to: Math.min(to, now),
    limit: 4 * BUCKETS,
    timeoutMs: 10_000,
  };
  const table = await telemetry
    .ask<ResultTable>("/query", question)
    .catch((): ResultTable => ({ columns: [], rows: [] }));
  return table.rows.map((row) => {
    const [bucket = 0, release = 0, requests = 0, errors = 0, p50Ms = 0, p95Ms = 0] =
      row.map(Number);
    return { at: from + (bucket + 0.5) * bucketMs, release, requests, errors, p50Ms, p95Ms };
  });
}
