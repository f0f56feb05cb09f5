// A train: several apps released together, each once the one before it has all its traffic, and undone
// in reverse where one of them fails. Named by its number.

import { z } from "zod";
import type { WithPass } from "../../kernel/controller.ts";
import { defineKind, type SpecOf } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";
import { migrationFacts } from "../release/release.ts";

const car = z.strictObject({
  app: z.string(),
  release: z.number().int().describe("Release of the environment that it comes from."),
  source: z
    .string()
    .exactOptional()
    .describe("Digest of its source: of a number alone, another release may take the place."),
  migrations: migrationFacts.exactOptional(),
});

export type Car = SpecOf<typeof car>;

const trainSpec = z.strictObject({
  number: z.number().int(),
  from: z.string().describe("Environment that the releases come from."),
  environment: z.string(),
  cars: z.array(car).describe("In the order of their dependencies."),
  askedBy: z.string(),
  askedFrom: z.string(),
  askedAt: z.number().describe("ms since the epoch."),
});

export type TrainSpec = SpecOf<typeof trainSpec>;

export const TRAIN = defineKind<TrainSpec, TrainStatus>({
  name: "train",
  summary: "A release of several apps together.",
  scope: "installation",
  environmentOf: (_name, { environment }) => environment,
  spec: trainSpec,
});

export interface CarState {
  readonly app: string;
  readonly state:
    | "waiting"
    | "running"
    | "succeeded"
    | "unchanged"
    | "failed"
    | "undoing"
    | "undone"
    | "stuck";
  /** Of its rollout, and of the one that undoes it. */
  readonly generation?: number;
  readonly undoGeneration?: number;
  /** The release that was made of it here: only that is taken back. */
  readonly release?: number;
  /** What served before; undefined: nothing. */
  readonly previous?: number;
  readonly text?: string;
}

export interface TrainStatusFields {
  readonly phase: "running" | "undoing" | "succeeded" | "undone" | "failed";
  readonly cars: readonly CarState[];
  readonly text: string;
}

export type TrainStatus = WithPass<TrainStatusFields>;
export type Train = Resource<TrainSpec, TrainStatus>;

export const trainName = (number: number): string => String(number).padStart(6, "0");

/**
 * The apps in the order in which they are released: each after those that it needs, otherwise as
 * given. Undefined where they need each other in a circle.
 */
export function inOrder(
  apps: readonly string[],
  needs: ReadonlyMap<string, readonly string[]>,
): readonly string[] | undefined {
  const left = [...apps];
  const order: string[] = [];
  while (left.length > 0) {
    const next = left.findIndex((app) =>
      (needs.get(app) ?? []).every((one) => !left.includes(one) || one === app),
    );
    if (next < 0) return undefined;
    order.push(...left.splice(next, 1));
  }
  return order;
}
