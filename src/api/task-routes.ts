// Commands that are run once in an app's environment: begun, fed, followed, ended.

import type { Readable } from "node:stream";
import { z } from "zod";
import { sleep } from "../kernel/clock.ts";
import { invalid, transient } from "../kernel/error.ts";
import type { ChangeControl } from "../operations/change-control.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import { appResourceName } from "../resources/app/app.ts";
import { name as appName } from "../resources/app/manifest.ts";
import { TASK, type Task, taskInstanceName } from "../resources/task/task.ts";
import { breakGlass, waitingOf } from "./environment-routes.ts";
import { followTask } from "./follow.ts";
import { type Route, route } from "./route.ts";

const ofApp = z.object({
  environment: appName.describe("Name of the environment, such as production."),
  app: appName,
});
const ofTask = ofApp.extend({ task: z.string().max(100) });
type TaskPath = z.output<typeof ofTask>;

function getTask(deps: OperationDeps, { environment, app, task }: TaskPath): Task {
  const name = `${appResourceName(environment, app)}/${task}`;
  const found = deps.store.find(TASK, name);
  if (found) return found as Task;
  throw invalid("task.not_found", `there is no task ${task}`, {
    hint: "how old ones ended is forgotten; their output is in holdfast logs <app>/run",
  });
}

const TASK_START_MS = 60_000;
const TASK_LOOK_MS = 50;

async function startedTask(
  deps: OperationDeps,
  path: TaskPath,
  signal: AbortSignal,
): Promise<Task> {
  const deadline = deps.clock.now() + TASK_START_MS;
  while (deps.clock.now() < deadline && !signal.aborted) {
    const task = getTask(deps, path);
    if (task.status && task.status.phase !== "starting") return task;
    await sleep(deps.clock, TASK_LOOK_MS);
  }
  throw transient("task.not_started", `the task ${path.task} has not started`, {
    hint: "holdfast status",
  });
}

/** What `holdfast run` asks for. */
export function taskRoutes(
  deps: OperationDeps,
  { operations, controls }: Pick<ChangeControl, "operations" | "controls">,
): Route[] {
  return [
    ...lifeRoutes(deps),
    route({
      method: "POST",
      path: "/v1/apps/{environment}/{app}/tasks",
      summary: "Run a one-off command in the live release.",
      params: ofApp,
      body: z.object({
        command: z.string().min(1).max(10_000),
        takesInput: z.boolean().default(false).describe("Its standard input is sent to it."),
        ...breakGlass,
      }),
      handle: ({ params, body, actor }) => {
        const app = operations.getApp(params.environment, params.app);
        const { command, takesInput, reason, emergency } = body;
        const task = deps.newId();
        const outcome = controls.submit(
          { action: "run", ...params, command, takesInput, task },
          actor,
          { reason, emergency },
        );
        const waiting = waitingOf(outcome);
        if (waiting.pending !== undefined) return { task, ...waiting };
        const name = `${app.name}/${task}`;
        const { spec } = getTask(deps, { ...params, task });
        const { release } = spec;
        return { task, instance: taskInstanceName({ name, spec }), release, ...waiting };
      },
    }),
  ];
}

function lifeRoutes(deps: OperationDeps): Route[] {
  return [
    route({
      method: "GET",
      path: "/v1/apps/{environment}/{app}/tasks/{task}",
      summary: "Follow a one-off command to its end as NDJSON.",
      params: ofTask,
      answers: "stream",
      handle: ({ params, signal }) => {
        return followTask(deps, getTask(deps, params).name, signal);
      },
    }),
    route({
      method: "POST",
      path: "/v1/apps/{environment}/{app}/tasks/{task}/input",
      summary: "Stream standard input to a one-off command.",
      params: ofTask,
      takes: "stream",
      handle: async ({ params, request, signal }) => {
        const task = await startedTask(deps, params, signal);
        await deps.feedTask(task, request.body as Readable);
        return { fed: true };
      },
    }),
    route({
      method: "DELETE",
      path: "/v1/apps/{environment}/{app}/tasks/{task}",
      summary: "Stop and remove a one-off command.",
      params: ofTask,
      handle: ({ params, actor }) => {
        const name = `${appResourceName(params.environment, params.app)}/${params.task}`;
        deps.store.markDeleting({ kind: TASK.name, name }, { actor, action: "cancel" });
        return { cancelled: true };
      },
    }),
  ];
}
