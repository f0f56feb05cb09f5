// A one-off command in an app's environment (`holdfast run`): it starts once, and how it ended is
// kept.

import { z } from "zod";
import type { WithPass } from "../../kernel/controller.ts";
import { defineKind, type SpecOf } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";
import type { InstanceExit } from "../app/app-driver.ts";

const taskSpec = z.strictObject({
  appName: z.string().describe("The app, such as production/storefront."),
  release: z.number().int(),
  command: z.string(),
  takesInput: z
    .boolean()
    .exactOptional()
    .describe("What it reads comes from whoever asked for it."),
});

export type TaskSpec = SpecOf<typeof taskSpec>;

export const TASK = defineKind<TaskSpec, TaskStatus>({
  name: "task",
  summary: "A one-off command.",
  scope: "app",
  spec: taskSpec,
});

export interface TaskStatusFields {
  readonly phase: "starting" | "running" | "ended";
  readonly instance: string;
  readonly startedAt?: number;
  readonly exit?: InstanceExit;
}

export type TaskStatus = WithPass<TaskStatusFields>;
export type Task = Resource<TaskSpec, TaskStatus>;

/** `production.storefront.run.r12.k3f9`: the task's own part is the last. */
export const taskInstanceName = (task: Pick<Task, "name" | "spec">): string =>
  `${task.spec.appName.replace("/", ".")}.run.r${task.spec.release}.${task.name.split("/").at(-1)}`;
