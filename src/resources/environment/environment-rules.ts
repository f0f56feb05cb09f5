// The rules of an environment: what its class begins with, and what its policy file changes. Every
// rule can be tightened or loosened; the file is versioned by the resource that holds it.

import { z } from "zod";
import { CHANGE_ACTIONS } from "../../kernel/action.ts";
import type { SpecOf } from "../../kernel/kind.ts";
import type { Strategy } from "../app/rollout-policy.ts";
import type { EnvironmentClass } from "./environment.ts";

const STRATEGIES = [
  "blue-green",
  "canary",
  "rolling",
  "recreate",
] as const satisfies readonly Strategy[];

export const rulesSchema = z
  .strictObject({
    protected: z.boolean().describe("Every change is a change record: asked, approved, run, kept."),
    approvals: z.number().int().min(0).max(5).describe("Others who have to approve a change."),
    approvalsWhenAlone: z
      .enum(["waive", "require"])
      .describe("Where nobody else may approve: run it and say so, or wait."),
    approverTieHours: z
      .number()
      .int()
      .min(0)
      .max(720)
      .describe(
        "An approval does not count from an account that the asker made, gave roles, enabled or made a token for in so many hours.",
      ),
    standardChanges: z
      .array(z.enum(CHANGE_ACTIONS))
      .describe("Approved beforehand: they need no other approval."),
    uncommittedSources: z
      .enum(["allow", "refuse"])
      .describe("Deploys of a folder that is not exactly what was committed."),
    strategies: z
      .array(z.enum(STRATEGIES))
      .min(1)
      .describe("Strategies that a new release may take."),
    promoteFrom: z
      .array(z.string().max(30))
      .describe("New code comes only from what ran well in one of these; empty: from anywhere."),
    contractMigrations: z
      .enum(["refuse", "allow"])
      .describe("Migrations that break the release that still runs."),
    releaseCommandSeconds: z
      .number()
      .int()
      .min(1)
      .max(86_400)
      .describe("Longest time a release command may take."),
    maxInstances: z.number().int().min(1).max(1_000).describe("Instances of one app at once."),
    spentErrorBudget: z
      .enum(["hold", "allow"])
      .describe("Risky changes while an objective's error budget is spent."),
    riskyFrom: z
      .number()
      .int()
      .min(0)
      .max(100)
      .describe("Risk from which a change counts as risky, 0 to 100."),
    reviewHours: z
      .number()
      .int()
      .min(1)
      .max(720)
      .describe("Time in which an emergency has to be reviewed."),
    changeDays: z
      .number()
      .int()
      .min(1)
      .max(90)
      .describe("A change not decided by then is given up."),
    telemetryDays: z
      .number()
      .int()
      .min(1)
      .max(3_650)
      .describe("Longest time that telemetry may be kept."),
    localPorts: z
      .array(z.number().int().min(1).max(65_535))
      .max(50)
      .describe(
        "Ports of this machine, other than Holdfast's own, that apps may reach. Where Holdfast runs as root.",
      ),
    cloudMetadata: z
      .enum(["refuse", "allow"])
      .describe(
        "The cloud's metadata service, with the machine's credentials, for apps; builds never reach it. Where Holdfast runs as root.",
      ),
  })
  .describe("Rules of an environment.");

export type EnvironmentRules = SpecOf<typeof rulesSchema>;

type Rules = typeof rulesSchema.shape;

/** Some of them, each as it is there. */
export const changedRules = z.strictObject(
  Object.fromEntries(
    Object.entries(rulesSchema.shape).map(([rule, schema]) => [rule, schema.exactOptional()]),
  ) as unknown as { [Rule in keyof Rules]: z.ZodExactOptional<Rules[Rule]> },
);

const DEVELOPMENT: EnvironmentRules = {
  protected: false,
  approvals: 0,
  approvalsWhenAlone: "waive",
  approverTieHours: 0,
  standardChanges: [...CHANGE_ACTIONS],
  uncommittedSources: "allow",
  strategies: [...STRATEGIES],
  promoteFrom: [],
  contractMigrations: "allow",
  releaseCommandSeconds: 86_400,
  maxInstances: 16,
  spentErrorBudget: "allow",
  riskyFrom: 60,
  reviewHours: 72,
  changeDays: 14,
  telemetryDays: 7,
  localPorts: [],
  cloudMetadata: "refuse",
};

/** What each class begins with: the further from users, the freer. */
export const CLASS_RULES: Readonly<Record<EnvironmentClass, EnvironmentRules>> = {
  development: DEVELOPMENT,
  test: { ...DEVELOPMENT, maxInstances: 64 },
  staging: { ...DEVELOPMENT, maxInstances: 128, telemetryDays: 30 },
  production: {
    ...DEVELOPMENT,
    protected: true,
    approvals: 1,
    approverTieHours: 24,
    standardChanges: ["rollback", "restart"],
    contractMigrations: "refuse",
    releaseCommandSeconds: 3_600,
    maxInstances: 256,
    spentErrorBudget: "hold",
    telemetryDays: 30,
  },
};

export const effectiveRules = (
  of: EnvironmentClass,
  policy: { readonly rules: Partial<EnvironmentRules> } | undefined,
): EnvironmentRules => ({ ...CLASS_RULES[of], ...policy?.rules });
