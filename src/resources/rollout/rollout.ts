// What a person wants of a rollout under way, as a resource named like its app: written by the API,
// read with every look. It is about one rollout; the next one does not know it.

import { z } from "zod";
import { defineKind, type SpecOf } from "../../kernel/kind.ts";

const rolloutWish = z.strictObject({
  generation: z.number().int().describe("The generation of the app that the rollout is for."),
  wish: z.enum(["pause", "resume", "promote", "abort"]),
  stage: z
    .number()
    .int()
    .exactOptional()
    .describe("With resume: the stage whose question it answers."),
  by: z.string(),
  reason: z.string().exactOptional(),
});

export type RolloutWish = SpecOf<typeof rolloutWish>;

export const ROLLOUT = defineKind<RolloutWish>({
  name: "rollout",
  summary: "A person's decision on a rollout: pause, resume, promote or abort.",
  scope: "app",
  spec: rolloutWish,
  wakes: [{ kind: "app", name: (name) => name }],
  goesWithApp: true,
});
