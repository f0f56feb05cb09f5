// Every write of a spec leaves an event whose hash covers the event before it: an edit, a cut or a
// reorder breaks the chain from there on, and `verify` says where.

import { createHash } from "node:crypto";
import type { DatabaseSync } from "node:sqlite";
import { canonicalJson } from "../kernel/resource.ts";

export interface FieldChange {
  /** Dotted: `scale.web`. */
  readonly field: string;
  readonly from?: unknown;
  readonly to?: unknown;
}

export interface AuditEvent {
  readonly seq: number;
  readonly at: number;
  readonly actor: string;
  readonly source: string;
  readonly action: string;
  readonly kind: string;
  readonly name: string;
  readonly generation: number;
  readonly change: readonly FieldChange[];
  readonly prevHash: string;
  readonly hash: string;
}

export type AuditVerdict =
  | { readonly intact: true; readonly events: number; readonly head: string }
  | { readonly intact: false; readonly brokenAt: number; readonly reason: string };

export const GENESIS = "0".repeat(64);

type Unhashed = Omit<AuditEvent, "hash">;

export function hashEvent(event: Unhashed): string {
  return createHash("sha256").update(canonicalJson(event)).digest("hex");
}

export class AuditChain {
  readonly #db: DatabaseSync;

  constructor(db: DatabaseSync) {
    this.#db = db;
  }

  append(event: Omit<Unhashed, "seq" | "prevHash">): void {
    const last = this.#db.prepare("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").get();
    const unhashed: Unhashed = {
      ...event,
      seq: Number(last?.["seq"] ?? 0) + 1,
      prevHash: String(last?.["hash"] ?? GENESIS),
    };
    this.#db
      .prepare("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
      .run(
        unhashed.seq,
        unhashed.at,
        unhashed.actor,
        unhashed.source,
        unhashed.action,
        unhashed.kind,
        unhashed.name,
        unhashed.generation,
        canonicalJson(unhashed.change),
        unhashed.prevHash,
        hashEvent(unhashed),
      );
  }

  /** Newest first. */
  list(limit: number, beforeSeq = Number.MAX_SAFE_INTEGER): readonly AuditEvent[] {
    return this.#db
      .prepare("SELECT * FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT ?")
      .all(beforeSeq, limit)
      .map(eventOf);
  }

  /** Follows the chain from its first event. Reads one row at a time: its length is no matter. */
  verify(): AuditVerdict {
    let previous = GENESIS;
    let events = 0;
    for (const row of this.#db.prepare("SELECT * FROM audit ORDER BY seq").iterate()) {
      const { hash, ...unhashed } = eventOf(row);
      events += 1;
      if (unhashed.seq !== events) return broken(events, `event ${events} is missing`);
      if (unhashed.prevHash !== previous)
        return broken(events, "it does not follow the event before");
      if (hashEvent(unhashed) !== hash)
        return broken(events, "its content does not match its hash");
      previous = hash;
    }
    return { intact: true, events, head: previous };
  }
}

const broken = (brokenAt: number, reason: string): AuditVerdict => ({
  intact: false,
  brokenAt,
  reason,
});

function eventOf(row: Record<string, unknown>): AuditEvent {
  return {
    seq: Number(row["seq"]),
    at: Number(row["at"]),
    actor: String(row["actor"]),
    source: String(row["source"]),
    action: String(row["action"]),
    kind: String(row["kind"]),
    name: String(row["name"]),
    generation: Number(row["generation"]),
    change: parseChange(String(row["change"])),
    prevHash: String(row["prev_hash"]),
    hash: String(row["hash"]),
  };
}

// A tampered row must be reported as such, not crash the one who looks.
function parseChange(text: string): readonly FieldChange[] {
  try {
    return JSON.parse(text) as FieldChange[];
  } catch {
    return [{ field: "(unreadable)", to: text }];
  }
}

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
