// A one-off command, started as an instance of the release that it is of.

import { stuck } from "../kernel/error.ts";
import { APP } from "../resources/app/app.ts";
import type { AppDeps, ComputeDriver } from "../resources/app/app-driver.ts";
import { startOrdered, technologyOf } from "../resources/app/app-reconciler.ts";
import { RELEASE, releaseName } from "../resources/release/release.ts";
import type { Task } from "../resources/task/task.ts";

export function computeOf(task: Task, deps: AppDeps): ComputeDriver {
  const release = deps.store.find(RELEASE, releaseName(task.spec.appName, task.spec.release));
  return deps.compute(technologyOf(release));
}

/** @throws app.not_found */
export async function startTask(task: Task, deps: AppDeps, signal: AbortSignal): Promise<void> {
  const app = deps.store.find(APP, task.spec.appName);
  if (!app)
    throw stuck("app.not_found", `${task.spec.appName} is gone`, { hint: "holdfast status" });
  const { release, command, appName, takesInput } = task.spec;
  const index = task.name.split("/").at(-1) ?? "";
  const order = {
    name: `${appName.replace("/", ".")}.run.r${release}.${index}`,
    component: "run",
    role: "task" as const,
    index,
    placement: { set: { release, restarts: 0 }, slot: "a" as const, counts: {} },
    command,
    ...(takesInput && { takesInput }),
  };
  await startOrdered(app, order, task.uid, deps, signal);
}
