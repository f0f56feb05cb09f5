import { type AnyStep, changeOr, converged, type Plan, wait } from "../../kernel/plan.ts";
import type { Instance } from "../app/app-driver.ts";
import { type Task, type TaskStatusFields, taskInstanceName } from "./task.ts";

export interface TaskObserved {
  readonly now: number;
  readonly instance: Instance | undefined;
}

export interface TaskStep extends AnyStep {
  readonly do: "start-task" | "kill-task" | "remove-task";
}

const RUNNING_RECHECK_MS = 250;
const AT_REST_MS = 3_600_000;
/** A command that nobody ended after this long is killed. */
export const TASK_TIMEOUT_MS = 24 * 3_600_000;

export function reportTask(task: Task, { now, instance }: TaskObserved): TaskStatusFields {
  const { pass: _, ...before } = task.status ?? {
    pass: undefined,
    phase: "starting" as const,
    instance: taskInstanceName(task),
  };
  if (before.phase === "ended") return before;
  if (!instance) {
    // Once it was seen to run it is never started again, whatever became of it.
    if (before.phase === "starting") return before;
    const exit = { at: now, code: undefined, signal: undefined, detail: "its end was not seen" };
    return { ...before, phase: "ended", exit };
  }
  const { startedAt, exit } = instance;
  return exit
    ? { ...before, phase: "ended", startedAt, exit }
    : { ...before, phase: "running", startedAt };
}

export function planTask(task: Task, { now, instance }: TaskObserved): Plan<TaskStep> {
  const step = (verb: TaskStep["do"], why: string): Plan<TaskStep> =>
    changeOr([{ do: verb, why }], converged(AT_REST_MS));
  if (task.deleting) {
    if (!instance) return converged(AT_REST_MS);
    return instance.state === "running"
      ? step("kill-task", "it was cancelled")
      : step("remove-task", "it has ended");
  }
  if (task.status?.phase === "ended") {
    return instance ? step("remove-task", "its end was recorded") : converged(AT_REST_MS);
  }
  if (!instance) return step("start-task", `run of "${task.spec.command}"`);
  if (now - instance.startedAt > TASK_TIMEOUT_MS) return step("kill-task", "its time is over");
  return wait("it runs", RUNNING_RECHECK_MS);
}
