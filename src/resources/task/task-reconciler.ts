import type { Clock } from "../../kernel/clock.ts";
import type { Reconciler } from "../../kernel/reconciler.ts";
import type { ComputeDriver } from "../app/app-driver.ts";
import { TASK, type Task, type TaskSpec, type TaskStatus, taskInstanceName } from "./task.ts";
import { planTask, reportTask, type TaskObserved, type TaskStep } from "./task-plan.ts";

export interface TaskDeps {
  readonly clock: Clock;
  /** The driver on which the app's release runs. */
  readonly computeOf: (task: Task) => ComputeDriver;
  /** Starts the command as an instance of the task's release, with the app's variables. */
  readonly start: (task: Task, signal: AbortSignal) => Promise<void>;
}

export function createTaskReconciler(
  deps: TaskDeps,
): Reconciler<TaskSpec, TaskStatus, TaskObserved, TaskStep> {
  return {
    kind: TASK,
    observe: async (task) => {
      const instances = await deps.computeOf(task).list(task.uid);
      return {
        now: deps.clock.now(),
        instance: instances.find(({ name }) => name === taskInstanceName(task)),
      };
    },
    report: reportTask,
    plan: planTask,
    apply: async (task, step, signal) => {
      const name = taskInstanceName(task);
      if (step.do === "start-task") return deps.start(task, signal);
      if (step.do === "kill-task") return deps.computeOf(task).kill(task.uid, name);
      return deps.computeOf(task).remove(task.uid, name);
    },
    isGone: (_task, { instance }) => instance === undefined,
  };
}
