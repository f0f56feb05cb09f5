// One document of a file, and what comes of it.

import type { FieldChange } from "../../kernel/audit.ts";
import type { Problem } from "../../kernel/error.ts";
import type { Ref } from "../../kernel/resource.ts";

/** One of a file. */
export interface Declaration extends Ref {
  readonly spec: unknown;
  /** Where it stands, for messages: `infra/policy.yaml:3`. */
  readonly source?: string | undefined;
}

export interface FileSet {
  /** Whose the declarations are. */
  readonly set?: string | undefined;
  /** Remove what the set applied before, and does not declare any more. */
  readonly prune?: boolean | undefined;
}

export interface PlannedChange extends Ref {
  readonly source?: string;
  readonly does: "create" | "change" | "remove" | "nothing";
  readonly changes: readonly FieldChange[];
  /** What of it loosens control: somebody else has to approve that. */
  readonly loosens: readonly string[];
}

export interface AppliedChange extends PlannedChange {
  readonly change?: number;
  /** What it waits for. */
  readonly pending?: string;
  /** It could not be written, nor could what comes after it. */
  readonly problem?: Problem;
}

export const sourceOf = ({ source, kind, name }: Declaration): string =>
  source ?? `${kind} ${name}`;
