// Smoke checks: what must hold of the candidate before any user gets it. Paths are asked through the
// edge, as a user would, with the key that leads to the candidate; commands run as tasks of it.

import type { App, Rollout } from "./app.ts";
import { instanceName } from "./app.ts";
import { type AppObserved, findInstance } from "./app-observed.ts";
import { exitText } from "./instance-exit.ts";
import type { RolloutPolicy } from "./rollout-policy.ts";
import type { Progress } from "./rollout-progress.ts";
import { fail } from "./start-report.ts";

export const SMOKE_TASK = "smoke";

/** `production.shop.smoke.r12.g7-0` */
export const smokeTaskName = (
  app: App,
  { placement, generation }: Rollout,
  index: number,
): string => instanceName(app.name, SMOKE_TASK, placement.set, `g${generation}-${index}`);

/** Undefined: all of them hold. */
export function judgeSmoke(
  app: App,
  rollout: Rollout,
  { smoke }: RolloutPolicy,
  observed: AppObserved,
): Progress | undefined {
  if (smoke.length === 0 || rollout.from === undefined) return undefined;
  if (rollout.phase !== "smoke") {
    const checks = smoke.length === 1 ? "a check" : `${smoke.length} checks`;
    return { phase: "smoke", text: `${checks} before anybody gets it` };
  }
  const waited = observed.now - rollout.phaseSince;
  for (const [index, check] of smoke.entries()) {
    const what = check.path === undefined ? check.command : `GET ${check.path}`;
    const logs = `holdfast logs ${app.name.split("/")[1]}/${check.path === undefined ? SMOKE_TASK : (check.service ?? "")}`;
    if (check.path !== undefined) {
      const result = observed.smoke.get(index);
      if (result?.ok) continue;
      if (waited <= check.timeout) return { phase: "smoke" };
      return fail(`the check ${what} did not come true: ${result?.detail ?? "no answer"}`, logs);
    }
    const task = findInstance(observed, smokeTaskName(app, rollout, index));
    if (task?.exit?.code === 0) continue;
    const tail = task ? (observed.tails.get(task.name) ?? []) : [];
    if (task?.state === "exited")
      return fail(`the check ${what} ended with ${exitText(task.exit)}`, logs, tail);
    if (waited <= check.timeout) return { phase: "smoke" };
    return fail(`the check ${what} took longer than ${check.timeout / 1000} s`, logs, tail);
  }
  return undefined;
}
