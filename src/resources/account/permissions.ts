// What each role may do in each class of environment, said as Cedar policies. These are the built-in
// ones; an environment's policy file adds its own beside them, and what forbids wins.

import { ACTIONS, type Action, CHANGE_ACTIONS } from "../../kernel/action.ts";
import type { EnvironmentClass } from "../environment/environment.ts";
import { EVERYWHERE, ROLES, type Role } from "./account.ts";

const CHANGES: readonly Action[] = CHANGE_ACTIONS.filter((action) => action !== "destroy");
const DAILY: readonly Action[] = [...CHANGES, "steer", "run", "silence"];

/** Least privilege: who only develops asks in production, who approves changes nothing. */
export function actionsOf(role: Role, of: EnvironmentClass): readonly Action[] {
  const isProduction = of === "production";
  switch (role) {
    case "viewer":
      return ["view", "audit"];
    case "auditor":
      return ["audit"];
    case "developer":
      return isProduction ? ["view", "audit", "ask"] : ["view", "audit", "ask", ...DAILY];
    case "operator":
      return [
        "view",
        "audit",
        "ask",
        ...DAILY,
        "freeze",
        "emergency",
        "telemetry",
        ...(isProduction ? [] : (["destroy"] as const)),
      ];
    case "approver":
      return ["view", "audit", "approve"];
    case "admin":
      return ACTIONS;
  }
}

/** Roles that may, in such an environment. */
export const rolesThatMay = (action: Action, of: EnvironmentClass): readonly Role[] =>
  ROLES.filter((role) => actionsOf(role, of).includes(action));

/** Policy id → Cedar: the roles of one environment; without one, those of the installation. */
export function rolePolicies(
  environment: { readonly name: string; readonly class: EnvironmentClass } | undefined,
): Record<string, string> {
  const name = environment?.name ?? EVERYWHERE;
  const resource = environment ? `Environment::"${name}"` : `Installation::"holdfast"`;
  return Object.fromEntries(
    ROLES.map((role) => {
      const actions = actionsOf(role, environment?.class ?? "production")
        .map((action) => `Action::"${action}"`)
        .join(", ");
      return [
        `${name}/${role}`,
        `permit(principal in Role::"${name}/${role}", action in [${actions}], resource in ${resource});`,
      ];
    }),
  );
}

/** What policies of one's own may speak of; they are checked against it. */
export const CEDAR_SCHEMA = `
entity Role;
entity User in [Role] { kind: String };
entity Installation;
entity Environment in [Installation] { class: String };
entity App in [Environment] { name: String };
type Context = {
  hour: Long, weekday: String,
  reason: String, emergency: Bool,
  action: String, risk: Long, strategy: String, commit: String, migration: Bool,
  budgetSpent: Bool
};
${ACTIONS.map((action) => `action "${action}" appliesTo { principal: [User], resource: [Installation, Environment, App], context: Context };`).join("\n")}
`;

export interface AccessContext {
  readonly hour: number;
  readonly weekday: string;
  readonly reason: string;
  readonly emergency: boolean;
  readonly action: string;
  readonly risk: number;
  readonly strategy: string;
  readonly commit: string;
  readonly migration: boolean;
  readonly budgetSpent: boolean;
}

export const NO_CONTEXT: AccessContext = {
  hour: 0,
  weekday: "",
  reason: "",
  emergency: false,
  action: "",
  risk: 0,
  strategy: "",
  commit: "",
  migration: false,
  budgetSpent: false,
};

export interface AccessQuestion {
  readonly user: {
    readonly name: string;
    readonly kind: string;
    readonly grants: readonly string[];
  };
  readonly action: Action;
  readonly environment?: { readonly name: string; readonly class: EnvironmentClass } | undefined;
  readonly app?: string | undefined;
  readonly context: AccessContext;
  /** The environment's own policies. */
  readonly cedar: string;
}

export interface AccessAnswer {
  readonly allowed: boolean;
  /** Ids of the policies that decided; none where nothing permits. */
  readonly rules: readonly string[];
  /** A policy that could not be evaluated: then nothing is allowed. */
  readonly problem?: string;
}

/** Evaluates policies. */
export interface Authorizer {
  decide(question: AccessQuestion): AccessAnswer;
  /** @throws policy.invalid, with where it is wrong */
  check(cedar: string): void;
}
