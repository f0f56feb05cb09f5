// What a look at a rollout says of it: it stays or goes to a phase, it failed, or it is done.

import type { Rollout, RolloutFailure, RolloutPhase, Watch } from "./app.ts";

export type Progress =
  | {
      readonly phase: RolloutPhase;
      readonly text?: string;
      readonly released?: boolean;
      /** What else is known of the rollout now. */
      readonly rollout?: Rollout;
    }
  | {
      readonly failure: RolloutFailure;
      readonly outcome?: "failed" | "aborted";
      readonly rollout?: Rollout;
    }
  | { readonly done: true };

/** Why a release that carries all traffic must not go on doing so. */
export interface Trouble {
  readonly watch: Watch;
  readonly failure: RolloutFailure;
}
