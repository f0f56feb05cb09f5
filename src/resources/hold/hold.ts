// Which held source somebody let go; what is held is in the status of the app.

import { z } from "zod";
import { defineKind, type SpecOf } from "../../kernel/kind.ts";

const holdSpec = z.strictObject({
  released: z
    .array(z.strictObject({ digest: z.string(), at: z.number() }))
    .describe("Digests of sources that may be deployed again, with when somebody said so."),
});

export type HoldSpec = SpecOf<typeof holdSpec>;

export const HOLD = defineKind<HoldSpec>({
  name: "hold",
  summary: "Holds of an app that a person released.",
  scope: "app",
  spec: holdSpec,
  goesWithApp: true,
});
