// Deciding about a change: pure. It runs once it is approved and its time has come, and then follows
// the rollout that it began.

import { type AnyStep, blocked, changeOr, converged, type Plan, wait } from "../../kernel/plan.ts";
import type { Gate } from "../window/window.ts";
import { type Change, type ChangeStatusFields, ENDED } from "./change.ts";

/** What people and rules say of it now, whatever they said before. */
export interface Standing {
  /** Of those who approved it, how many still may. */
  readonly approvals: number;
  /** At least, by the rules as they are; 0 where they were waived for it. */
  readonly needs: number;
  /** Why it must not run at all. */
  readonly problem?: string;
}

export interface ChangeObserved {
  readonly now: number;
  readonly gate: Gate;
  readonly standing: Standing;
  /** Of the rollout that it began; undefined: not known yet. */
  readonly rollout:
    | {
        readonly outcome: "succeeded" | "failed" | "aborted" | "rolled-back" | undefined;
        readonly reason: string;
        /** What it came to, where that is no release. */
        readonly done?: string;
      }
    | undefined;
  /** It is destroyed, or has nothing to roll out. */
  readonly hasRollout: boolean;
}

export interface ChangeStep extends AnyStep {
  readonly do: "execute";
}

const AT_REST_MS = 3_600_000;
const RUNNING_MS = 1_000;
const WAITING_MS = 60_000;

export function reportChange(change: Change, observed: ChangeObserved): ChangeStatusFields {
  const before = change.status;
  const now = observed.now;
  // What has ended stays as it ended; only a release that is taken back later is told.
  if (before && ENDED.has(before.phase) && observed.rollout?.outcome !== "rolled-back") {
    const { pass: _, ...known } = before;
    return known;
  }
  const next = phaseOf(change, observed);
  const isSame = before?.phase === next.phase && before.text === next.text;
  const problem = change.status?.pass?.verdict === "failed" ? change.status.pass.reason : undefined;
  return {
    ...next,
    since: before?.phase === next.phase ? (before?.since ?? now) : now,
    ...(isSame && problem !== undefined && !ENDED.has(next.phase) && { problem }),
  };
}

function phaseOf(
  { spec }: Change,
  { now, gate, rollout, hasRollout, standing }: ChangeObserved,
): Pick<ChangeStatusFields, "phase" | "text" | "opensAt"> {
  if (spec.executed) {
    if (!hasRollout) return { phase: "succeeded", text: "done" };
    if (!rollout?.outcome) return { phase: "running", text: rollout?.reason ?? "begins" };
    if (rollout.outcome === "succeeded")
      return { phase: "succeeded", text: rollout.done ?? "all of it is in force" };
    if (rollout.outcome === "rolled-back") return { phase: "rolled-back", text: rollout.reason };
    return { phase: "failed", text: rollout.reason };
  }
  if (spec.withdrawn) return { phase: "withdrawn", text: `withdrawn by ${spec.withdrawn.by}` };
  if (spec.rejected)
    return { phase: "rejected", text: `rejected by ${spec.rejected.by}: ${spec.rejected.reason}` };
  if (standing.problem !== undefined && !spec.emergency)
    return now >= spec.expiresAt
      ? { phase: "expired", text: standing.problem }
      : { phase: "asked", text: standing.problem };
  const missing = Math.max(spec.needs, standing.needs) - standing.approvals;
  if (missing > 0 && !spec.emergency) {
    if (now >= spec.expiresAt) return { phase: "expired", text: "nobody decided in time" };
    const why = spec.voided ? `; ${spec.voided}` : "";
    return {
      phase: "asked",
      text: `needs ${missing} more approval${missing > 1 ? "s" : ""}${why}`,
    };
  }
  if (gate.open || spec.emergency) return { phase: "approved", text: "runs now" };
  const when =
    gate.opensAt === undefined ? "nobody knows when" : new Date(gate.opensAt).toISOString();
  return {
    phase: "scheduled",
    text: `waits for ${gate.by} (${gate.reason}): opens ${when}`,
    ...(gate.opensAt !== undefined && { opensAt: gate.opensAt }),
  };
}

export function planChange(change: Change, { now }: ChangeObserved): Plan<ChangeStep> {
  const { status, spec } = change;
  switch (status?.phase) {
    case "approved":
      return changeOr<ChangeStep>(
        [{ do: "execute", why: `change ${spec.number} is approved, and it is its time` }],
        converged(RUNNING_MS),
      );
    case "running":
      return wait(status.text, RUNNING_MS);
    case "scheduled":
      return wait(status.text, Math.max(1_000, Math.min(WAITING_MS, (status.opensAt ?? 0) - now)));
    case "asked":
      return wait(status.text, Math.max(1_000, Math.min(AT_REST_MS, spec.expiresAt - now)));
    default:
      return spec.emergency && !spec.review && now > (spec.reviewBy ?? Number.MAX_SAFE_INTEGER)
        ? blocked(
            `the emergency change ${spec.number} was not reviewed in time`,
            `holdfast change review ${spec.number} --text <what was found>`,
            AT_REST_MS,
          )
        : converged(AT_REST_MS);
  }
}
