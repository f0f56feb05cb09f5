// The wiring of the train kind.

import type { Reconciler } from "../../kernel/reconciler.ts";
import type { ResourceStore } from "../../kernel/resource-store.ts";
import type { App } from "../app/app.ts";
import { TRAIN, type Train, type TrainSpec, type TrainStatus } from "./train.ts";
import {
  planTrain,
  type RolloutState,
  reportTrain,
  type TrainObserved,
  type TrainStep,
} from "./train-plan.ts";

/** What a train needs from the world. */
export interface TrainDriver {
  /** Both write what they began into the train's status, in the transaction that begins it. */
  promoteCar(train: Train, app: string): void;
  undoCar(train: Train, app: string): void;
}

export interface TrainDeps {
  readonly store: ResourceStore;
  readonly driver: TrainDriver;
}

export function createTrainReconciler({
  store,
  driver,
}: TrainDeps): Reconciler<TrainSpec, TrainStatus, TrainObserved, TrainStep> {
  return {
    kind: TRAIN,
    observe: async ({ spec }) => ({
      rolloutOf: (app, generation) => rolloutOf(store, `${spec.environment}/${app}`, generation),
    }),
    report: reportTrain,
    plan: planTrain,
    apply: async (train, step) =>
      step.do === "promote-car"
        ? driver.promoteCar(train, step.app)
        : driver.undoCar(train, step.app),
    isGone: () => true,
  };
}

function rolloutOf(store: ResourceStore, name: string, generation: number): RolloutState {
  const status = (store.find({ kind: "app", name }) as App | undefined)?.status;
  const ended = status?.history.find((one) => one.generation === generation && !one.automatic);
  if (ended?.outcome === "succeeded") return { state: "succeeded" };
  if (ended) return { state: "failed", reason: ended.failure?.reason ?? "it did not end well" };
  if ((status?.settledGeneration ?? 0) >= generation)
    return { state: "failed", reason: "a newer change took its place" };
  return { state: "running" };
}
