// Every write of a spec leaves an event whose hash covers the event before it, keyed with what is not
// in the database: an edit, a cut (also of the end) or a reorder shows, and `verify` says where. Who
// has the key and a copy of the whole can still go back to that copy: note heads elsewhere.

import { createHmac } from "node:crypto";
import type { DatabaseSync } from "node:sqlite";
import type { AuditEvent, AuditFilter, AuditVerdict, FieldChange } from "../kernel/audit.ts";
import { canonicalJson } from "../kernel/resource.ts";
import type { AuditHead } from "./audit-head-file.ts";

export const GENESIS = "0".repeat(64);
/** Fewer digits of a hash prove nothing. */
const ANCHOR_CHARS_MIN = 16;

type Unhashed = Omit<AuditEvent, "hash">;

const PAGE_EVENTS = 1_000;

export class AuditChain {
  readonly #db: DatabaseSync;
  readonly #key: Buffer;
  readonly #keepHead: (head: AuditHead) => void;
  #unkept: AuditHead | undefined;

  /** `keepHead` notes the head outside of the database, once it is in there for good. */
  constructor(db: DatabaseSync, key: Buffer, keepHead: (head: AuditHead) => void) {
    this.#db = db;
    this.#key = key;
    this.#keepHead = keepHead;
    keepHead(this.head());
  }

  /** Of a transaction: called when it is on disk. */
  committed(): void {
    if (this.#unkept) this.#keepHead(this.#unkept);
    this.#unkept = undefined;
  }

  /** Of a transaction that was taken back. */
  rolledBack(): void {
    this.#unkept = undefined;
  }

  append(event: Omit<Unhashed, "seq" | "prevHash">): void {
    const last = this.#db.prepare("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").get();
    const unhashed: Unhashed = {
      ...event,
      seq: Number(last?.["seq"] ?? 0) + 1,
      prevHash: String(last?.["hash"] ?? GENESIS),
    };
    const hash = this.#hash(unhashed);
    this.#db
      .prepare("INSERT OR REPLACE INTO audit_head VALUES (1, ?, ?)")
      .run(unhashed.seq, this.#seal(unhashed.seq, hash));
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
        hash,
      );
    this.#unkept = { seq: unhashed.seq, hash };
    if (!this.#db.isTransaction) this.committed();
  }

  /** Newest first. */
  search(filter: AuditFilter): readonly AuditEvent[] {
    const {
      limit,
      before = Number.MAX_SAFE_INTEGER,
      from = 0,
      to = Number.MAX_SAFE_INTEGER,
    } = filter;
    const { actor, action, kind, name, text } = filter;
    const like = (part: string): string => `%${part.replaceAll(/[\\%_]/g, "\\$&")}%`;
    const conditions: [sql: string, value: string | number | undefined][] = [
      ["seq < ?", before],
      ["at >= ?", from],
      ["at <= ?", to],
      ["actor = ?", actor],
      ["action = ?", action],
      ["kind = ?", kind],
      ["name LIKE ? ESCAPE '\\'", name === undefined ? undefined : like(name)],
      ["change LIKE ? ESCAPE '\\'", text === undefined ? undefined : like(text)],
    ];
    const given = conditions.filter(([, value]) => value !== undefined);
    return this.#db
      .prepare(
        `SELECT * FROM audit WHERE ${given.map(([sql]) => sql).join(" AND ")} ORDER BY seq DESC LIMIT ?`,
      )
      .all(...given.map(([, value]) => value ?? 0), limit)
      .map(eventOf);
  }

  /** Oldest first, from the first one on. */
  *all(): Generator<AuditEvent> {
    // Page by page: a reader who is slow must not keep a statement open, which would hold up copies.
    const page = this.#db.prepare("SELECT * FROM audit WHERE seq > ? ORDER BY seq LIMIT ?");
    for (let last = 0; ; ) {
      const events = page.all(last, PAGE_EVENTS).map(eventOf);
      yield* events;
      if (events.length < PAGE_EVENTS) return;
      last = events.at(-1)?.seq ?? last;
    }
  }

  /** The last event: noted elsewhere, it shows later that nothing before it was changed. */
  head(): AuditHead {
    const last = this.#db.prepare("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").get();
    return { seq: Number(last?.["seq"] ?? 0), hash: String(last?.["hash"] ?? GENESIS) };
  }

  /** Whether a head that was noted is still in the chain, as it was. */
  holds({ seq, hash }: AuditHead): boolean {
    const row = this.#db.prepare("SELECT hash FROM audit WHERE seq = ?").get(seq);
    return String(row?.["hash"] ?? "").startsWith(hash) && hash.length >= ANCHOR_CHARS_MIN;
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
      if (this.#hash(unhashed) !== hash)
        return broken(events, "its content does not match its hash");
      previous = hash;
    }
    const head = this.#db.prepare("SELECT seq, seal FROM audit_head").get();
    if (
      Number(head?.["seq"] ?? 0) !== events ||
      (events > 0 && head?.["seal"] !== this.#seal(events, previous))
    )
      return broken(events + 1, `the last event was number ${Number(head?.["seq"] ?? 0)}`);
    return { intact: true, events, head: previous };
  }

  #hash(event: Unhashed): string {
    return createHmac("sha256", this.#key).update(canonicalJson(event)).digest("hex");
  }

  #seal(seq: number, hash: string): string {
    return createHmac("sha256", this.#key).update(`head ${seq} ${hash}`).digest("hex");
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
