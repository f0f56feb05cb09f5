// Trains, as they are begun and driven.

import { asHoldfastError, assert, invalid } from "../kernel/error.ts";
import type { Actor } from "../kernel/resource-store.ts";
import { APP } from "../resources/app/app.ts";
import { CHANGE } from "../resources/change/change.ts";
import { RELEASE, releaseName } from "../resources/release/release.ts";
import {
  type Car,
  type CarState,
  inOrder,
  TRAIN,
  type Train,
  type TrainSpec,
  trainName,
} from "../resources/train/train.ts";
import type { RolloutState } from "../resources/train/train-plan.ts";
import { gateAt, WINDOW } from "../resources/window/window.ts";
import type { AppOperations } from "./app-operations.ts";
import { assertNotHeld } from "./holds.ts";
import type { OperationDeps } from "./operation-deps.ts";
import type { Promotion } from "./promotion.ts";
import type { Accepted } from "./release-writer.ts";
import { rolloutStateOf } from "./rollout-state.ts";

/** How a train stands for an app where one is named. */
const TRAIN_APP = "train";

export class TrainOperations {
  readonly #deps: OperationDeps;
  readonly #operations: AppOperations;
  readonly #promotion: Promotion;

  constructor(deps: OperationDeps, operations: AppOperations, promotion: Promotion) {
    this.#deps = deps;
    this.#operations = operations;
    this.#promotion = promotion;
  }

  /** The apps with the releases that are promoted, in the order of their dependencies. */
  carsOf(environment: string, from: string, apps: readonly string[]): readonly Car[] {
    const unique = [...new Set(apps)];
    if (unique.length < 2)
      throw invalid("train.too_short", "a train has at least two apps", {
        hint: `holdfast promote ${unique[0] ?? "<app>"} --from ${from} --to ${environment}`,
      });
    const known = new Map(
      unique.map((app) => [app, this.#promotion.proven(app, from, undefined).spec]),
    );
    const needs = new Map([...known].map(([app, { manifest }]) => [app, manifest.needs ?? []]));
    const order = inOrder(unique, needs);
    if (!order)
      throw invalid("train.circle", `${unique.join(", ")} need each other in a circle`, {
        hint: "take one of them out of needs in a holdfast.yaml",
      });
    return order.flatMap((app) => {
      const release = known.get(app);
      return release ? [{ app, release: release.number, source: release.source.digest }] : [];
    });
  }

  begin(environment: string, from: string, cars: readonly Car[], actor: Actor): Accepted {
    const { store, clock } = this.#deps;
    const busy = store.list(TRAIN).find(({ spec, status }) => {
      const isOver = ["succeeded", "undone", "failed"].includes(status?.phase ?? "");
      const shares = spec.cars.some(({ app }) => cars.some((car) => car.app === app));
      return spec.environment === environment && !isOver && shares;
    });
    if (busy)
      throw invalid(
        "train.busy",
        `train ${busy.spec.number} is under way with some of these apps`,
        {
          hint: `holdfast train show ${busy.spec.number}`,
        },
      );
    for (const car of cars) this.#sourceOf(from, car);
    const number = (store.list(TRAIN).at(-1)?.spec.number ?? 0) + 1;
    const spec: TrainSpec = {
      number,
      from,
      environment,
      cars,
      askedBy: actor.name,
      askedFrom: actor.from,
      askedAt: clock.now(),
    };
    store.writeSpec(TRAIN, trainName(number), spec, {
      actor,
      action: "train",
      expectedGeneration: 0,
    });
    const nothing = { release: 0, generation: 0, urls: [], inferred: [] };
    return { app: TRAIN_APP, environment, ...nothing, changed: true, train: number };
  }

  // --- driven by the reconciler; see TrainDriver

  promoteCar(train: Train, app: string): void {
    const { spec } = train;
    const car = spec.cars.find((one) => one.app === app);
    assert(car, `train ${spec.number} has no car ${app}`);
    this.#step(train, app, (actor) => {
      const previous = this.#servingOf(spec.environment, app);
      const source = this.#sourceOf(spec.from, car);
      if (source) assertNotHeld(this.#deps, `${spec.environment}/${app}`, source, spec.askedAt);
      const { changed, generation, release } = this.#promotion.promote(
        { ...car, from: spec.from, to: spec.environment },
        actor,
      );
      return changed
        ? { state: "running", generation, release, ...(previous !== undefined && { previous }) }
        : { state: "unchanged" };
    });
  }

  undoCar(train: Train, app: string): void {
    const { spec, status } = train;
    const { previous, release } = status?.cars.find((one) => one.app === app) ?? {};
    this.#step(train, app, (actor) => {
      if (previous === undefined) return { state: "stuck", text: "nothing served before it" };
      const now = this.#find(spec.environment, app)?.spec.release;
      if (release !== undefined && now !== release)
        return { state: "stuck", text: `release ${now} took its place meanwhile, and stays` };
      const { generation } = this.#operations.rollback(spec.environment, app, previous, actor, {
        holds: false,
      });
      return { state: "undoing", undoGeneration: generation };
    });
  }

  closed({ spec }: Train, app: string): string | undefined {
    const { store, clock } = this.#deps;
    const asked = store.list(CHANGE).findLast((one) => one.spec.executed?.train === spec.number);
    if (asked?.spec.emergency) return undefined;
    const windows = store.list(WINDOW);
    const subject = { environment: spec.environment, app, action: "promote" } as const;
    const gate = gateAt(windows, subject, clock.now());
    return gate.open ? undefined : `${gate.by} (${gate.reason})`;
  }

  rolloutOf({ spec }: Train, app: string, generation: number): RolloutState {
    return rolloutStateOf(this.#deps.store, `${spec.environment}/${app}`, generation);
  }

  // What is begun and that it was begun are one transaction: a kill leaves both or neither.
  #step(train: Train, app: string, work: (actor: Actor) => Omit<CarState, "app">): void {
    const { store } = this.#deps;
    const actor = { name: train.spec.askedBy, from: train.spec.askedFrom };
    const keep = (change: Omit<CarState, "app">): void => {
      const { status } = train;
      const cars = (status?.cars ?? []).map((car) =>
        car.app === app ? { ...car, ...change } : car,
      );
      store.writeStatus(train, train.uid, { ...status, cars });
    };
    try {
      store.transaction(() => keep(work(actor)));
    } catch (error) {
      const known = asHoldfastError(error);
      if (known.actsNext !== "caller") throw known;
      const state = train.status?.phase === "undoing" ? "stuck" : "failed";
      keep({ state, text: known.message });
    }
  }

  /** @throws train.content_changed where the release is not the one that was asked for */
  #sourceOf(from: string, { app, release, source: asked }: Car) {
    const source = this.#deps.store.find(RELEASE, releaseName(`${from}/${app}`, release))?.spec
      .source;
    if (asked === undefined || source?.digest === asked) return source;
    throw invalid(
      "train.content_changed",
      `release ${release} of ${app} in ${from} is not the one that this train was asked with`,
      { hint: `holdfast releases ${app} --env ${from}, then ask for a train anew` },
    );
  }

  #servingOf(environment: string, app: string): number | undefined {
    return this.#find(environment, app)?.status?.serving?.set.release;
  }

  #find(environment: string, app: string) {
    const name = `${environment}/${app}`;
    return this.#deps.store.find(APP, name);
  }
}
