// The wiring of the train kind.

import type { Reconciler } from "../../kernel/reconciler.ts";
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
  rolloutOf(train: Train, app: string, generation: number): RolloutState;
  /** By which window or freeze, and why; undefined: it may go. */
  closed(train: Train, app: string): string | undefined;
}

export interface TrainDeps {
  readonly driver: TrainDriver;
}

export function createTrainReconciler({
  driver,
}: TrainDeps): Reconciler<TrainSpec, TrainStatus, TrainObserved, TrainStep> {
  return {
    kind: TRAIN,
    observe: async (train) => ({
      rolloutOf: (app, generation) => driver.rolloutOf(train, app, generation),
      closed: (app) => driver.closed(train, app),
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
