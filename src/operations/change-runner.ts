// What can be asked for, by name, as it is run: at once in an environment that is not protected, or
// once a change is approved. A rehearsal runs it too, and takes everything back: so it is known
// beforehand what it would write, and what would stand in its way.

import type { ChangeAction, ControlAction } from "../kernel/action.ts";
import { canonicalJson } from "../kernel/resource.ts";
import type { Actor } from "../kernel/resource-store.ts";
import { APP, type AppSpec } from "../resources/app/app.ts";
import type { FieldDifference } from "../resources/change/change.ts";
import {
  type MigrationFacts,
  RELEASE,
  type ReleaseSpec,
  releaseName,
} from "../resources/release/release.ts";
import { SECRET } from "../resources/secret/secret.ts";
import { SETTINGS } from "../resources/settings/settings.ts";
import type { Car } from "../resources/train/train.ts";
import type { AppOperations } from "./app-operations.ts";
import { effectOf } from "./control-effect.ts";
import { type ControlRequest, type ControlWrites, isControl } from "./control-writes.ts";
import type { OperationDeps } from "./operation-deps.ts";
import type { Promotion } from "./promotion.ts";
import type { Accepted, SourceFacts } from "./release-writer.ts";
import type { TrainOperations } from "./train-operations.ts";

/** Of an app. */
export type ChangeRequest =
  | { readonly action: "deploy"; readonly source: SourceFacts }
  | {
      readonly action: "promote";
      readonly app: string;
      readonly from: string;
      readonly release?: number | undefined;
      readonly migrations?: MigrationFacts;
    }
  | {
      readonly action: "promote";
      readonly train: { readonly from: string; readonly cars: readonly Car[] };
    }
  | { readonly action: "rollback"; readonly app: string; readonly to?: number | undefined }
  | { readonly action: "restart"; readonly app: string }
  | {
      readonly action: "scale";
      readonly app: string;
      readonly counts: Readonly<Record<string, number>>;
    }
  | {
      readonly action: "config";
      readonly app: string;
      readonly changes: Readonly<Record<string, string | null>>;
    }
  | {
      readonly action: "secret";
      readonly app: string;
      readonly secret: string;
      /** Of the sealed value; null removes it. */
      readonly version: number | null;
    }
  | {
      readonly action: "destroy";
      readonly app: string;
      readonly confirm: string;
      readonly data: boolean;
    };

/** What would be written. */
export interface Rehearsal {
  readonly accepted: Accepted;
  readonly action: ChangeAction | ControlAction;
  /** The release that the app would point at, and its spec before and after. */
  readonly release: ReleaseSpec | undefined;
  readonly appBefore: AppSpec | undefined;
  readonly appAfter: AppSpec | undefined;
  readonly digest: string;
}

export class ChangeRunner {
  readonly #deps: OperationDeps;
  readonly #operations: AppOperations;
  readonly #promotion: Promotion;
  readonly #trains: TrainOperations;
  readonly #control: ControlWrites;

  constructor(
    deps: OperationDeps,
    operations: AppOperations,
    promotion: Promotion,
    trains: TrainOperations,
    control: ControlWrites,
  ) {
    this.#deps = deps;
    this.#operations = operations;
    this.#promotion = promotion;
    this.#trains = trains;
    this.#control = control;
  }

  run(environment: string, request: ChangeRequest | ControlRequest, actor: Actor): Accepted {
    if (isControl(request)) {
      this.#control.run(request, actor);
      return { ...NO_APP, environment };
    }
    const operations = this.#operations;
    switch (request.action) {
      case "deploy":
        return operations.deploy(environment, request.source, actor);
      case "promote":
        return "train" in request
          ? this.#trains.begin(environment, request.train.from, request.train.cars, actor)
          : this.#promotion.promote({ ...request, to: environment }, actor);
      case "rollback":
        return operations.rollback(environment, request.app, request.to, actor);
      case "restart":
        return operations.restart(environment, request.app, actor);
      case "scale":
        return operations.scale(environment, request.app, request.counts, actor);
      case "config":
        return operations.changeSettings(environment, request.app, request.changes, actor);
      case "secret":
        return request.version === null
          ? operations.removeSecret(environment, request.app, request.secret, actor)
          : operations.useSecret(environment, request.app, request.secret, request.version, actor);
      case "destroy":
        return operations.destroy(environment, request.app, request.confirm, request.data, actor);
    }
  }

  /** @throws what running it would be refused with */
  rehearse(environment: string, request: ChangeRequest | ControlRequest, actor: Actor): Rehearsal {
    if (isControl(request)) return this.#rehearseControl(environment, request, actor);
    const { store } = this.#deps;
    return store.rehearse(() => {
      const nameOf = (app: string): string => `${environment}/${app}`;
      const specOf = (app: string): AppSpec | undefined => store.find(APP, nameOf(app))?.spec;
      // Of a deploy the name is only known afterwards; nothing else changes it.
      const known = "app" in request ? specOf(request.app) : undefined;
      const before = store.list(APP, `${environment}/`);
      const accepted = this.run(environment, request, actor);
      const appBefore = known ?? before.find(({ name }) => name === nameOf(accepted.app))?.spec;
      const appAfter = specOf(accepted.app);
      const release = store.find(
        RELEASE,
        releaseName(nameOf(accepted.app), accepted.release),
      )?.spec;
      const content =
        "train" in request
          ? this.#contentOfTrain(environment, request)
          : contentOf(request, release, appBefore, appAfter);
      const digest = this.#deps.digest(content);
      return { accepted, action: request.action, release, appBefore, appAfter, digest };
    });
  }

  // What each car would become: its source, and what the environment adds to it.
  #contentOfTrain(
    environment: string,
    request: Extract<ChangeRequest, { readonly train: unknown }>,
  ): string {
    const { store } = this.#deps;
    const cars = request.train.cars.map(({ app, release }) => {
      const name = `${environment}/${app}`;
      return {
        source: store.find(RELEASE, releaseName(`${request.train.from}/${app}`, release))?.spec
          .source.digest,
        settings: store.find(SETTINGS, name)?.spec,
        secrets: store.list(SECRET, `${name}/`).map(({ name, spec }) => [name, spec.version]),
        release: store.find(APP, name)?.spec.release ?? 0,
      };
    });
    return canonicalJson([request, cars]);
  }

  /** What it would change, as whoever approves it reads it. */
  controlDifferences(request: ControlRequest): readonly FieldDifference[] {
    const before = this.#control.before(request);
    return effectOf({ request, before, loosening: this.#control.loosening(request) }).diff;
  }

  #rehearseControl(environment: string, request: ControlRequest, actor: Actor): Rehearsal {
    const digest = this.#deps.digest(this.#control.contentOf(request));
    this.#deps.store.rehearse(() => this.#control.run(request, actor));
    return {
      accepted: { ...NO_APP, environment },
      action: request.action,
      release: undefined,
      appBefore: undefined,
      appAfter: undefined,
      digest,
    };
  }
}

/** Of a change that is about no release. */
export const NO_APP: Accepted = {
  app: "",
  environment: "",
  release: 0,
  generation: 0,
  urls: [],
  inferred: [],
  changed: true,
};

// Who runs it and which number it gets do not change what it is.
function contentOf(
  request: ChangeRequest,
  release: ReleaseSpec | undefined,
  before: AppSpec | undefined,
  after: AppSpec | undefined,
): string {
  const { number: _, createdBy: __, ...content } = release ?? { number: 0, createdBy: "" };
  return canonicalJson([request, content, before?.release ?? 0, after?.scale ?? {}]);
}
