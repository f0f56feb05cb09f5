// What of an environment's rules differs from those of its class, as its policy file has it.

import { z } from "zod";
import { defineKind, type SpecOf } from "../../kernel/kind.ts";
import { changedRules } from "../environment/environment-rules.ts";

export const POLICY_MAX_CHARS = 256 * 1024;

/** As its file has it, and as it is kept. */
export const policySpec = z.strictObject({
  rules: changedRules.default({}).describe("Only what differs from the class."),
  cedar: z
    .string()
    .max(POLICY_MAX_CHARS)
    .default("")
    .describe("Cedar policies of one's own, beside those of the roles."),
});

export type PolicySpec = SpecOf<typeof policySpec>;

export const POLICY = defineKind<PolicySpec>({
  name: "policy",
  summary: "Rules of an environment that differ from its class, and Cedar policies.",
  scope: "environment",
  spec: policySpec,
});

export const EMPTY_POLICY: PolicySpec = { rules: {}, cedar: "" };
