// The wiring of the change kind.

import type { Clock } from "../../kernel/clock.ts";
import type { Reconciler } from "../../kernel/reconciler.ts";
import type { ResourceStore } from "../../kernel/resource-store.ts";
import { APP } from "../app/app.ts";
import { TASK } from "../task/task.ts";
import { TRAIN } from "../train/train.ts";
import type { Gate } from "../window/window.ts";
import { CHANGE, type Change, type ChangeSpec, type ChangeStatus } from "./change.ts";
import {
  type ChangeObserved,
  type ChangeStep,
  planChange,
  reportChange,
  type Standing,
} from "./change-plan.ts";

/** What a change needs from the world. */
export interface ChangeDriver {
  /** Whether changes of this subject may run now. */
  gate(change: Pick<ChangeSpec, "environment" | "app" | "action" | "request">): Gate;
  /** Whether those who asked and approved still may. */
  standing(change: ChangeSpec): Standing;
  /**
   * Runs what was asked for, once: with the mark that it ran, in one transaction. Where what it would
   * do has changed since it was approved, its approvals are void and nothing runs.
   */
  execute(number: number): void;
}

export interface ChangeDeps {
  readonly clock: Clock;
  readonly store: ResourceStore;
  readonly driver: ChangeDriver;
}

export function createChangeReconciler(
  deps: ChangeDeps,
): Reconciler<ChangeSpec, ChangeStatus, ChangeObserved, ChangeStep> {
  return {
    kind: CHANGE,
    observe: async (change) => observeChange(change, deps),
    report: reportChange,
    plan: planChange,
    apply: async ({ spec }) => deps.driver.execute(spec.number),
    isGone: () => true,
  };
}

const OUTCOMES = {
  running: undefined,
  undoing: undefined,
  succeeded: "succeeded",
  undone: "failed",
  failed: "failed",
} as const;

function observeChange({ spec }: Change, { clock, store, driver }: ChangeDeps): ChangeObserved {
  const { environment, app, executed } = spec;
  if (executed?.train !== undefined) {
    const name = String(executed.train).padStart(6, "0");
    const train = store.find(TRAIN, name);
    return {
      now: clock.now(),
      gate: driver.gate(spec),
      standing: driver.standing(spec),
      hasRollout: true,
      rollout: {
        outcome: OUTCOMES[train?.status?.phase ?? "running"],
        reason: train?.status?.text ?? "",
      },
    };
  }
  const standing = { now: clock.now(), gate: driver.gate(spec), standing: driver.standing(spec) };
  if (spec.action === "run" && executed)
    return { ...standing, hasRollout: true, rollout: commandOf(spec, store) };
  const found = store.find(APP, `${environment}/${app}`);
  const own = [found?.status?.rollout, ...(found?.status?.history ?? [])].filter(
    (one) => one?.generation === executed?.generation && one?.automatic === undefined,
  )[0];
  const isPast = (found?.status?.settledGeneration ?? 0) >= (executed?.generation ?? Infinity);
  return {
    ...standing,
    hasRollout: (executed?.generation ?? 0) > 0 && found !== undefined,
    rollout: own
      ? { outcome: own.outcome, reason: own.failure?.reason ?? `${own.phase}` }
      : isPast
        ? { outcome: "failed", reason: "a newer change took its place" }
        : undefined,
  };
}

// A command that was asked for has done what it should once it has ended well.
function commandOf(
  { environment, app, request }: ChangeSpec,
  store: ResourceStore,
): ChangeObserved["rollout"] {
  const { task } = request as { readonly task?: string };
  const found = store.find(TASK, `${environment}/${app}/${task}`);
  const { phase, exit } = found?.status ?? {};
  if (found && phase !== "ended") return { outcome: undefined, reason: "the command runs" };
  const text = exit ? `the command ended with ${exit.code ?? exit.signal}` : "its end was not seen";
  return { outcome: exit?.code === 0 ? "succeeded" : "failed", reason: text, done: text };
}
