// What a change of control, or of any resource that is declared, does: as whoever approves it reads it.

import { fieldChanges } from "../kernel/field-changes.ts";
import type { ChangeSpec } from "../resources/change/change.ts";
import type { ControlRequest, Loosening } from "./control-writes.ts";

const RISK = 40;
const RESOURCE_RISK = 20;

export interface ControlEffect {
  readonly request: ControlRequest;
  /** Of a resource that is applied: its spec. */
  readonly before: unknown;
  readonly loosening: Loosening;
}

/** What it does, how risky that is, and how it is undone. */
export function effectOf({
  request,
  before,
  loosening,
}: ControlEffect): Pick<ChangeSpec, "diff" | "risk" | "plan" | "success" | "rollback"> {
  const risk = (points: number, why: string) => ({ score: points, parts: [{ points, why }] });
  if (request.action === "run")
    return {
      diff: [{ what: "command", after: request.command }],
      risk: risk(RISK, "a command may do what the app may"),
      plan: ["it runs once, in the release that serves then"],
      success: ["it ends with 0"],
      rollback: "none: what a command did stays done",
    };
  const written = {
    plan: ["it is written at once"],
    success: ["it is in force"],
    rollback: "what was before, set again",
  };
  if (request.action !== "apply")
    return {
      diff: loosening.reasons.map((reason) => ({ what: "loosens", after: reason })),
      risk: risk(RISK, "it loosens what holds changes"),
      ...written,
    };
  const text = (value: unknown): string =>
    typeof value === "string" ? value : JSON.stringify(value);
  return {
    diff: fieldChanges(before, request.spec ?? undefined).map(({ field, from, to }) => ({
      what: field,
      ...(from !== undefined && { before: text(from) }),
      ...(to !== undefined && { after: text(to) }),
    })),
    risk: risk(RESOURCE_RISK, `${request.kind} ${request.name} of a protected environment`),
    ...written,
  };
}
