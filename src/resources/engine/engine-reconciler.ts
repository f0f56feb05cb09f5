import type { Clock } from "../../kernel/clock.ts";
import type { Kind } from "../../kernel/kind.ts";
import type { Reconciler } from "../../kernel/reconciler.ts";
import type { EngineSpec, EngineStatus } from "./engine.ts";
import type { EngineDriver } from "./engine-driver.ts";
import { type EngineObserved, type EngineStep, planEngine, reportEngine } from "./engine-plan.ts";

export function createEngineReconciler(
  kind: Kind<EngineSpec, EngineStatus>,
  driver: EngineDriver,
  clock: Clock,
): Reconciler<EngineSpec, EngineStatus, EngineObserved, EngineStep> {
  return {
    kind,
    observe: async ({ name }, signal) => ({
      now: clock.now(),
      view: await driver.observe(name, signal),
    }),
    report: reportEngine,
    plan: planEngine,
    apply: ({ name }, step, signal) => {
      switch (step.do) {
        case "create-engine":
          return driver.create(name, signal);
        case "start-engine":
          return driver.start(name, signal);
        case "configure-engine":
          return driver.configure?.(name, signal) ?? Promise.resolve();
        case "stop-engine":
          return driver.stop(name, signal);
      }
    },
    isGone: (_engine, { view }) => view.process === "absent",
  };
}
