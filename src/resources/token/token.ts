// A token of an account: what it may do is what the account may, or less.

import { z } from "zod";
import { defineKind, type SpecOf } from "../../kernel/kind.ts";

const tokenSpec = z.strictObject({
  account: z.string(),
  scope: z
    .array(z.string())
    .describe("Of the account's roles only these, such as staging/developer; empty: all of them."),
  expiresAt: z.number().describe("ms since the epoch."),
  label: z.string(),
  madeBy: z
    .string()
    .exactOptional()
    .describe(
      "Who made it, where it was not the account itself: until that has accepted it, it decides nothing.",
    ),
});

export type TokenSpec = SpecOf<typeof tokenSpec>;

export const TOKEN = defineKind<TokenSpec>({
  name: "token",
  summary: "An access token of an account.",
  scope: "installation",
  spec: tokenSpec,
});
