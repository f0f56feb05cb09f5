// A train: several apps released together, each once the one before it has all its traffic, and undone
// in reverse where one of them fails. Named by its number.

import type { WithPass } from "../../kernel/controller.ts";
import { defineKind } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";

import type { MigrationFacts } from "../release/release.ts";

export const TRAIN = defineKind<TrainSpec, TrainStatus>({ name: "train", scope: "installation" });

export interface Car {
  readonly app: string;
  /** Release of the environment that it comes from. */
  readonly release: number;
  /** Digest of its source: of a number alone, another release may take the place. */
  readonly source?: string;
  readonly migrations?: MigrationFacts;
}

export interface TrainSpec {
  readonly number: number;
  readonly from: string;
  readonly environment: string;
  /** In the order of their dependencies. */
  readonly cars: readonly Car[];
  readonly askedBy: string;
  readonly askedFrom: string;
  readonly askedAt: number;
}

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
