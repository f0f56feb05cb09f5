// The wiring of the push kind.

import type { Clock } from "../../kernel/clock.ts";
import type { Reconciler } from "../../kernel/reconciler.ts";
import { type CommitState, PUSH, type Push, type PushSpec, type PushStatus } from "./push.ts";
import { type PushObserved, type PushStep, planPush, reportPush } from "./push-plan.ts";

/** What a push needs from the world. Each writes what came of it into the push's status. */
export interface PushDriver {
  observe(push: Push): Omit<PushObserved, "now">;
  fetch(push: Push, signal: AbortSignal): Promise<void>;
  /** Once: a push that was handed over before a kill is found again. */
  submit(push: Push): Promise<void>;
  /** Never throws: that it failed is kept, and when it is tried again. */
  tell(push: Push, state: CommitState, signal: AbortSignal): Promise<void>;
}

export interface PushDeps {
  readonly clock: Clock;
  readonly driver: PushDriver;
}

export function createPushReconciler({
  clock,
  driver,
}: PushDeps): Reconciler<PushSpec, PushStatus, PushObserved, PushStep> {
  return {
    kind: PUSH,
    observe: async (push) => ({ now: clock.now(), ...driver.observe(push) }),
    report: reportPush,
    plan: planPush,
    apply: (push, step, signal) => {
      switch (step.do) {
        case "fetch-source":
          return driver.fetch(push, signal);
        case "submit-deploy":
          return driver.submit(push);
        case "tell-provider":
          return driver.tell(push, step.state ?? "pending", signal);
      }
    },
    isGone: () => true,
  };
}
