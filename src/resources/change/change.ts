// A change of an app in a protected environment, as a record through its life: asked, approved,
// scheduled, running, and how it ended. Its spec is what people said; what became of it is its
// status.

import type { ChangeAction, ControlAction } from "../../kernel/action.ts";
import type { WithPass } from "../../kernel/controller.ts";
import { defineKind } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";

export const CHANGE = defineKind<ChangeSpec, ChangeStatus>({
  name: "change",
  scope: "installation",
});

export interface Approval {
  readonly by: string;
  readonly at: number;
  /** Of the content that was approved: of any other it says nothing. */
  readonly digest: string;
}

export interface RiskPart {
  readonly points: number;
  readonly why: string;
}

export interface FieldDifference {
  readonly what: string;
  readonly before?: string;
  readonly after?: string;
}

export interface ChangeSpec {
  readonly number: number;
  readonly environment: string;
  /** Empty where it is about the environment itself, or about who may change it. */
  readonly app: string;
  readonly action: ChangeAction | ControlAction;
  /** What is run once it may: the action's own words. */
  readonly request: Readonly<Record<string, unknown>>;
  readonly summary: string;
  readonly reason: string;
  /** Of all that would be written. */
  readonly digest: string;
  readonly askedBy: string;
  readonly askedFrom: string;
  readonly askedAt: number;
  /** Who made the token that it was asked with, where that was somebody else. */
  readonly askedThrough?: string;
  /** Whose work it is, beside who asked: names in small letters. */
  readonly authors?: readonly string[];
  readonly diff: readonly FieldDifference[];
  /** 0 to 100, and what it is made of. */
  readonly risk: { readonly score: number; readonly parts: readonly RiskPart[] };
  readonly plan: readonly string[];
  readonly success: readonly string[];
  readonly rollback: string;
  /** How many others have to approve; why fewer than the rule says, where it is so. */
  readonly needs: number;
  readonly waived?: string;
  readonly approvals: readonly Approval[];
  /** Why earlier approvals no longer count. */
  readonly voided?: string;
  readonly rejected?: { readonly by: string; readonly at: number; readonly reason: string };
  readonly withdrawn?: { readonly by: string; readonly at: number };
  readonly emergency?: { readonly by: string; readonly reason: string };
  readonly review?: { readonly by: string; readonly at: number; readonly text: string };
  /** Given up where it is not decided by then. */
  readonly expiresAt: number;
  /** Emergencies: reviewed by then. */
  readonly reviewBy?: number;
  /** Written in one transaction with what it changed. */
  readonly executed?: {
    readonly at: number;
    readonly release: number;
    readonly generation: number;
    /** The train that it began. */
    readonly train?: number;
  };
}

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
