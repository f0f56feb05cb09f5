// What of an environment's rules differs from those of its class, as its policy file has it.

import { defineKind } from "../../kernel/kind.ts";
import type { EnvironmentRules } from "../environment/environment-rules.ts";

export const POLICY = defineKind<PolicySpec>({ name: "policy", scope: "environment" });

export interface PolicySpec {
  /** Only what differs from the class. */
  readonly rules: Partial<EnvironmentRules>;
  /** Cedar policies of one's own, beside those of the roles. */
  readonly cedar: string;
}

export const EMPTY_POLICY: PolicySpec = { rules: {}, cedar: "" };
