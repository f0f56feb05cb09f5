// A change of an app in a protected environment, as a record through its life: asked, approved,
// scheduled, running, and how it ended. Its spec is what people said; what became of it is its
// status.

import { z } from "zod";
import { CHANGE_ACTIONS, CONTROL_ACTIONS } from "../../kernel/action.ts";
import type { WithPass } from "../../kernel/controller.ts";
import { defineKind, type SpecOf } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";

const approval = z.strictObject({
  by: z.string(),
  at: z.number(),
  digest: z.string().describe("Of the content that was approved: of any other it says nothing."),
});

const riskPart = z.strictObject({ points: z.number(), why: z.string() });

const fieldDifference = z.strictObject({
  what: z.string(),
  before: z.string().exactOptional(),
  after: z.string().exactOptional(),
});

export type Approval = SpecOf<typeof approval>;
export type RiskPart = SpecOf<typeof riskPart>;
export type FieldDifference = SpecOf<typeof fieldDifference>;

const said = z.strictObject({ by: z.string(), at: z.number() });

const changeSpec = z.strictObject({
  number: z.number().int(),
  environment: z.string(),
  app: z
    .string()
    .describe("Empty where it is about the environment itself, or about who may change it."),
  action: z.enum([...CHANGE_ACTIONS, ...CONTROL_ACTIONS]),
  request: z
    .record(z.string(), z.unknown())
    .describe("What is run once it may: the action's own words."),
  summary: z.string(),
  reason: z.string(),
  digest: z.string().describe("Of all that would be written."),
  askedBy: z.string(),
  askedFrom: z.string(),
  askedAt: z.number().describe("ms since the epoch."),
  askedThrough: z
    .string()
    .exactOptional()
    .describe("Who made the token that it was asked with, where that was somebody else."),
  authors: z
    .array(z.string())
    .exactOptional()
    .describe("Whose work it is, beside who asked: names in small letters."),
  diff: z.array(fieldDifference),
  risk: z
    .strictObject({ score: z.number(), parts: z.array(riskPart) })
    .describe("0 to 100, and what it is made of."),
  plan: z.array(z.string()),
  success: z.array(z.string()),
  rollback: z.string(),
  needs: z.number().int().describe("How many others have to approve."),
  waived: z.string().exactOptional().describe("Why they are fewer than the rule says."),
  approvals: z.array(approval),
  voided: z.string().exactOptional().describe("Why earlier approvals no longer count."),
  rejected: said.extend({ reason: z.string() }).exactOptional(),
  withdrawn: said.exactOptional(),
  emergency: z.strictObject({ by: z.string(), reason: z.string() }).exactOptional(),
  review: said.extend({ text: z.string() }).exactOptional(),
  expiresAt: z.number().describe("Given up where it is not decided by then."),
  reviewBy: z.number().exactOptional().describe("Emergencies: reviewed by then."),
  executed: z
    .strictObject({
      at: z.number(),
      release: z.number().int(),
      generation: z.number().int(),
      train: z.number().int().exactOptional().describe("The train that it began."),
    })
    .exactOptional()
    .describe("Written in one transaction with what it changed."),
});

export type ChangeSpec = SpecOf<typeof changeSpec>;

export const CHANGE = defineKind<ChangeSpec, ChangeStatus>({
  name: "change",
  summary: "A change in a protected environment, with its approvals and outcome.",
  scope: "installation",
  environmentOf: (_name, { environment }) => environment,
  spec: changeSpec,
  wakes: [{ kind: "push", on: "status" }],
});

export type ChangePhase =
  | "asked"
  | "approved"
  | "scheduled"
  | "running"
  | "succeeded"
  | "failed"
  | "rolled-back"
  | "rejected"
  | "withdrawn"
  | "expired";

export interface ChangeStatusFields {
  readonly phase: ChangePhase;
  readonly since: number;
  /** What it waits for, or how it ended. */
  readonly text: string;
  readonly opensAt?: number;
  /** What stood in the way when it was to run. */
  readonly problem?: string;
}

export type ChangeStatus = WithPass<ChangeStatusFields>;
export type Change = Resource<ChangeSpec, ChangeStatus>;

export const changeName = (number: number): string => String(number).padStart(6, "0");

export const ENDED: ReadonlySet<ChangePhase> = new Set([
  "succeeded",
  "failed",
  "rolled-back",
  "rejected",
  "withdrawn",
  "expired",
]);

/** Approvals of what the change is now, by different people, none of them who asked. */
export const validApprovals = ({
  approvals,
  digest,
  askedBy,
  askedThrough,
  authors,
}: ChangeSpec): readonly Approval[] =>
  approvals.filter(
    (one, index) =>
      one.digest === digest &&
      personOf(one.by) !== personOf(askedBy) &&
      one.by !== askedThrough &&
      !authors?.includes(one.by) &&
      approvals.findIndex(
        ({ by, digest: of }) => personOf(by) === personOf(one.by) && of === digest,
      ) === index,
  );

/** The owner of the installation has two doors: the socket, and the token in its folder. */
const personOf = (name: string): string => (name === "admin" ? "owner" : name);

export const isApproved = (spec: ChangeSpec): boolean =>
  spec.emergency !== undefined || validApprovals(spec).length >= spec.needs;
