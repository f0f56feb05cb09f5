// Deciding about a train: pure. One car at a time, forwards; once one has failed, backwards.

import { type AnyStep, changeOr, converged, type Plan, wait } from "../../kernel/plan.ts";
import type { CarState, Train, TrainStatusFields } from "./train.ts";

/** How the rollout of a generation of an app is. */
export type RolloutState =
  | { readonly state: "running" }
  | { readonly state: "succeeded" }
  | { readonly state: "failed"; readonly reason: string };

export interface TrainObserved {
  /** App → generation → how that went. */
  readonly rolloutOf: (app: string, generation: number) => RolloutState;
  /** Why a car may not go now; undefined: it may. */
  readonly closed: (app: string) => string | undefined;
}

export interface TrainStep extends AnyStep {
  readonly do: "promote-car" | "undo-car";
  readonly app: string;
}

const LOOK_MS = 1_000;
const CLOSED_MS = 30_000;
const AT_REST_MS = 24 * 3_600_000;

export function reportTrain({ spec, status }: Train, observed: TrainObserved): TrainStatusFields {
  const before = status?.cars ?? spec.cars.map(({ app }): CarState => ({ app, state: "waiting" }));
  const cars = before.map((car) => followed(car, observed));
  const failed = cars.find(({ state }) => state === "failed");
  const isRunning = cars.some(({ state }) => state === "running" || state === "undoing");
  if (!failed) {
    const isDone = cars.every(({ state }) => state === "succeeded" || state === "unchanged");
    const at = cars.filter(({ state }) => state === "succeeded" || state === "unchanged").length;
    return isDone
      ? { phase: "succeeded", cars, text: `all ${cars.length} apps are released` }
      : { phase: "running", cars, text: `${at} of ${cars.length} apps are released` };
  }
  const left = cars.filter(({ state }) => state === "succeeded").length;
  if (left > 0 || isRunning)
    return {
      phase: "undoing",
      cars,
      text: `${failed.app} failed (${failed.text}); ${left} apps go back, the last first`,
    };
  const stuck = cars.find(({ state }) => state === "stuck");
  return stuck
    ? {
        phase: "failed",
        cars,
        text: `${failed.app} failed (${failed.text}), and ${stuck.app} did not go back: ${stuck.text}`,
      }
    : { phase: "undone", cars, text: `${failed.app} failed (${failed.text}); all others are back` };
}

function followed(car: CarState, { rolloutOf }: TrainObserved): CarState {
  if (car.state === "running" && car.generation !== undefined) {
    const now = rolloutOf(car.app, car.generation);
    if (now.state === "succeeded") return { ...car, state: "succeeded" };
    return now.state === "failed" ? { ...car, state: "failed", text: now.reason } : car;
  }
  if (car.state === "undoing" && car.undoGeneration !== undefined) {
    const now = rolloutOf(car.app, car.undoGeneration);
    if (now.state === "succeeded") return { ...car, state: "undone" };
    return now.state === "failed" ? { ...car, state: "stuck", text: now.reason } : car;
  }
  return car;
}

export function planTrain({ status }: Train, { closed }: TrainObserved): Plan<TrainStep> {
  const { phase, cars, text } = status ?? { phase: "running", cars: [], text: "" };
  const isBusy = cars.some(({ state }) => state === "running" || state === "undoing");
  if (isBusy) return wait(text, LOOK_MS);
  if (phase === "running") {
    const next = cars.find(({ state }) => state === "waiting");
    // What closed meanwhile holds those that have not begun; nothing is taken back for it.
    const why = next && closed(next.app);
    if (why !== undefined) return wait(`${next?.app} waits for ${why}`, CLOSED_MS);
    return next
      ? changeOr([{ do: "promote-car", app: next.app, why: text }], converged(LOOK_MS))
      : converged(LOOK_MS);
  }
  if (phase === "undoing") {
    const last = cars.findLast(({ state }) => state === "succeeded");
    return last
      ? changeOr([{ do: "undo-car", app: last.app, why: text }], converged(LOOK_MS))
      : converged(LOOK_MS);
  }
  return converged(AT_REST_MS);
}
