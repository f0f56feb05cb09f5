// What a person wants of a rollout under way, as a resource named like its app: written by the API,
// read with every look. It is about one rollout; the next one does not know it.

import { defineKind } from "../../kernel/kind.ts";
export const ROLLOUT = defineKind<RolloutWish>({
  name: "rollout",
  scope: "app",
  goesWithApp: true,
});

export interface RolloutWish {
  /** The generation of the app that the rollout is for. */
  readonly generation: number;
  readonly wish: "pause" | "resume" | "promote" | "abort";
  /** resume: the stage whose question it answers. */
  readonly stage?: number;
  readonly by: string;
  readonly reason?: string;
}
