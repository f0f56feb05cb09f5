import type { FieldChange } from "./audit.ts";
import { canonicalJson } from "./resource.ts";

/** The fields in which two specs differ; lists count as one field. */
export function fieldChanges(before: unknown, after: unknown, path = ""): FieldChange[] {
  if (canonicalJson(before ?? null) === canonicalJson(after ?? null)) return [];
  if (!isPlain(before) || !isPlain(after)) {
    const change: { field: string; from?: unknown; to?: unknown } = { field: path || "(all)" };
    if (before !== undefined) change.from = before;
    if (after !== undefined) change.to = after;
    return [change];
  }
  const fields = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  return fields.flatMap((field) =>
    fieldChanges(before[field], after[field], path ? `${path}.${field}` : field),
  );
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
