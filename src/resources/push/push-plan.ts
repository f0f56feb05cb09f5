// Deciding about a push: pure. The deploy goes its way whatever becomes of telling the provider: that
// is tried beside it, and given up at some point.

import { type AnyStep, changeOr, converged, type Plan, wait } from "../../kernel/plan.ts";
import {
  type CommitState,
  moved,
  NEW_PUSH,
  PUSH_ENDED,
  type Push,
  type PushStatusFields,
  stateOf,
} from "./push.ts";

export interface PushObserved {
  readonly now: number;
  /** How what it became goes; undefined: it is nothing yet. */
  readonly outcome:
    | { readonly phase: "waiting" | "deploying" | "succeeded" | "failed"; readonly text: string }
    | undefined;
  /** Whether the provider can be told. */
  readonly canTell: boolean;
}

export interface PushStep extends AnyStep {
  readonly do: "fetch-source" | "submit-deploy" | "tell-provider";
  readonly state?: CommitState;
}

export const TELL_ATTEMPTS_MAX = 8;
const LOOK_MS = 1_000;
/** A release can still be taken back while it is watched. */
const AFTERWARDS_MS = 30_000;
const AFTERWARDS_FOR_MS = 3_600_000;
const AT_REST_MS = 24 * 3_600_000;

export function reportPush(push: Push, { now, outcome }: PushObserved): PushStatusFields {
  const before: PushStatusFields = push.status ?? { ...NEW_PUSH, since: now };
  const isDecided = PUSH_ENDED.has(before.phase) && before.accepted === undefined;
  if (isDecided || !outcome) return before;
  return moved(before, outcome.phase, outcome.text, now);
}

export function planPush({ status, spec }: Push, observed: PushObserved): Plan<PushStep> {
  const { now } = observed;
  const { phase, source, accepted, report, nextAt, since, text } = status ?? {
    ...NEW_PUSH,
    since: now,
  };
  const isOver = PUSH_ENDED.has(phase);
  if (!isOver && !source && now >= nextAt)
    return step({ do: "fetch-source", why: `${spec.pusher} pushed ${spec.commit.slice(0, 12)}` });
  if (!isOver && source && !accepted)
    return step({ do: "submit-deploy", why: `${spec.commit.slice(0, 12)} is here` });
  const state = stateOf(phase);
  const isDue = report.told !== state && report.attempts < TELL_ATTEMPTS_MAX;
  if (observed.canTell && isDue && now >= report.nextAt)
    return step({ do: "tell-provider", state, why: text });
  const tellIn = observed.canTell && isDue ? Math.max(100, report.nextAt - now) : undefined;
  if (!isOver) {
    const lookIn = source ? LOOK_MS : Math.max(100, nextAt - now);
    return wait(text, Math.min(lookIn, tellIn ?? lookIn));
  }
  const isFresh = phase === "succeeded" && now - since < AFTERWARDS_FOR_MS;
  return converged(Math.min(isFresh ? AFTERWARDS_MS : AT_REST_MS, tellIn ?? AT_REST_MS));
}

const step = (one: PushStep): Plan<PushStep> => changeOr([one], converged(LOOK_MS));
