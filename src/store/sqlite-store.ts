// Resources, journal and leases in SQLite. A spec and its audit event are one transaction; status
// is written only where it changed, so a platform at rest writes nothing.

import type { DatabaseSync } from "node:sqlite";
import type { Clock } from "../kernel/clock.ts";
import { assert, invalid } from "../kernel/error.ts";
import { fieldChanges } from "../kernel/field-changes.ts";
import type { Random } from "../kernel/id.ts";
import { type AnyKind, type Kind, refTo } from "../kernel/kind.ts";
import type { LeaseStore } from "../kernel/lease.ts";
import type { AnyStep } from "../kernel/plan.ts";
import { type AnyResource, canonicalJson, type Ref, type Resource } from "../kernel/resource.ts";
import type {
  Journal,
  JournalEntry,
  ResourceStore,
  WriteOptions,
} from "../kernel/resource-store.ts";
import { AuditChain } from "./audit-chain.ts";
import type { AuditHead } from "./audit-head-file.ts";
import { SpecReader, type StoredRow } from "./spec-reader.ts";

type Listener = Parameters<ResourceStore["subscribe"]>[0];

const TAKEN_BACK = new Error("rehearsed");

/** Journal entries kept per installation; older ones are dropped as new ones come. */
export const JOURNAL_MAX_ENTRIES = 20_000;
const JOURNAL_TRIM_EVERY = 500;

export class SqliteStore implements ResourceStore, Journal, LeaseStore {
  readonly audit: AuditChain;
  readonly #db: DatabaseSync;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #specs = new SpecReader();
  readonly #listeners = new Set<Listener>();
  #depth = 0;
  #pending: Parameters<Listener>[] = [];

  constructor(
    db: DatabaseSync,
    clock: Clock,
    random: Random,
    auditKey: Buffer,
    keepHead: (head: AuditHead) => void = () => undefined,
  ) {
    this.#db = db;
    this.#clock = clock;
    this.#random = random;
    this.audit = new AuditChain(db, auditKey, keepHead);
    // What a killed control plane had begun is neither done nor failed: the next pass will look.
    db.prepare("UPDATE journal SET outcome = 'lost', ended_at = ? WHERE outcome = 'running'").run(
      clock.now(),
    );
  }

  find<Spec, Status>(kind: Kind<Spec, Status>, name: string): Resource<Spec, Status> | undefined {
    const row = this.#row({ kind: kind.name, name });
    return row && this.#resource(kind, row);
  }

  #row(ref: Ref): Row | undefined {
    return this.#db
      .prepare("SELECT * FROM resource WHERE kind = ? AND name = ?")
      .get(ref.kind, ref.name);
  }

  #resource<Spec, Status>(kind: Kind<Spec, Status>, row: Row): Resource<Spec, Status> {
    return {
      ...(resourceOf(row) as Resource<Spec, Status>),
      spec: this.#specs.read(kind, storedRow(row)),
    };
  }

  list<Spec, Status>(kind: Kind<Spec, Status>, prefix = ""): readonly Resource<Spec, Status>[] {
    return this.#db
      .prepare("SELECT * FROM resource WHERE kind = ? AND substr(name, 1, ?) = ? ORDER BY name")
      .all(kind.name, prefix.length, prefix)
      .map((row) => this.#resource(kind, row));
  }

  /** Reads all that there is of these kinds. @throws state.unreadable */
  assertReadable(kinds: readonly AnyKind[]): void {
    for (const kind of kinds) this.list(kind);
  }

  /** Names of the kinds that there are resources of. */
  kinds(): readonly string[] {
    return this.#db
      .prepare("SELECT DISTINCT kind FROM resource ORDER BY kind")
      .all()
      .map(({ kind }) => String(kind));
  }

  writeSpec<Spec, Status>(
    kind: Kind<Spec, Status>,
    name: string,
    spec: NoInfer<Spec>,
    options: WriteOptions,
  ): Resource<Spec, Status> {
    const ref = refTo(kind, name);
    return this.transaction(() => {
      const before = this.find(kind, name);
      checkExpectation(ref, before, options);
      const after = canonicalJson(spec);
      assertFits(kind, ref, after);
      if (before && canonicalJson(before.spec) === after) return before;
      const now = this.#clock.now();
      const generation = (before?.generation ?? 0) + 1;
      this.#db
        .prepare(
          `INSERT INTO resource
             (kind, name, uid, generation, spec, spec_version, created_at, updated_at)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (kind, name) DO UPDATE SET
             generation = excluded.generation, spec = excluded.spec,
             spec_version = excluded.spec_version, updated_at = excluded.updated_at`,
        )
        .run(ref.kind, ref.name, this.#random.uid(), generation, after, kind.version, now, now);
      this.#record(ref, generation, before?.spec, spec, options);
      const written = this.find(kind, name);
      assert(written, `${ref.kind} ${ref.name} was written and is not there`);
      return written;
    });
  }

  markDeleting(ref: Ref, options: WriteOptions): void {
    this.transaction(() => {
      const row = this.#row(ref);
      const before = row && resourceOf(row);
      checkExpectation(ref, before, options);
      if (!before || before.deleting) return;
      this.#db
        .prepare("UPDATE resource SET deleting = 1, generation = generation + 1 WHERE uid = ?")
        .run(before.uid);
      this.#record(ref, before.generation + 1, before.spec, undefined, options);
    });
  }

  writeStatus(ref: Ref, uid: string, status: unknown): void {
    const text = canonicalJson(status);
    const { changes } = this.#db
      .prepare("UPDATE resource SET status = ? WHERE uid = ? AND status IS NOT ?")
      .run(text, uid, text);
    if (changes) this.#notify(ref, "status");
  }

  forget(ref: Ref, uid: string): void {
    this.#db.prepare("DELETE FROM resource WHERE uid = ? AND deleting = 1").run(uid);
    this.#specs.forget(uid);
    this.#notify(ref, "forgotten");
  }

  transaction<Result>(work: () => Result): Result {
    if (this.#depth > 0) return work();
    this.#db.exec("BEGIN IMMEDIATE");
    this.#depth += 1;
    try {
      const result = work();
      this.#db.exec("COMMIT");
      this.audit.committed();
      this.#depth -= 1;
      this.#flush();
      return result;
    } catch (error) {
      this.#depth = 0;
      this.#pending = [];
      this.audit.rolledBack();
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      throw error;
    }
  }

  rehearse<Result>(work: () => Result): Result {
    // Taking back what is inside another transaction would take that back too.
    assert(this.#depth === 0, "a rehearsal inside a transaction");
    let result: { readonly of: Result } | undefined;
    try {
      this.transaction(() => {
        result = { of: work() };
        throw TAKEN_BACK;
      });
    } catch (error) {
      if (error !== TAKEN_BACK) throw error;
    }
    assert(result, "a rehearsal was not run");
    return result.of;
  }

  subscribe(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  intend(resource: AnyResource, step: AnyStep): number {
    const { kind, name, generation } = resource;
    const { lastInsertRowid } = this.#db
      .prepare(
        `INSERT INTO journal (kind, name, generation, step, started_at, outcome)
         VALUES (?, ?, ?, ?, ?, 'running')`,
      )
      .run(
        kind,
        name,
        generation,
        JSON.stringify({ do: step.do, why: step.why }),
        this.#clock.now(),
      );
    const id = Number(lastInsertRowid);
    if (id % JOURNAL_TRIM_EVERY === 0) {
      this.#db.prepare("DELETE FROM journal WHERE id <= ?").run(id - JOURNAL_MAX_ENTRIES);
    }
    return id;
  }

  settle(id: number, outcome: "done" | "failed", error?: string): void {
    this.#db
      .prepare("UPDATE journal SET outcome = ?, ended_at = ?, error = ? WHERE id = ?")
      .run(outcome, this.#clock.now(), error ?? null, id);
  }

  /** Oldest first, those after `afterId`. */
  journalOf(ref: Ref, limit: number, afterId = 0): readonly JournalEntry[] {
    return this.#db
      .prepare(
        `SELECT * FROM (SELECT * FROM journal WHERE kind = ? AND name = ? AND id > ?
         ORDER BY id DESC LIMIT ?) ORDER BY id`,
      )
      .all(ref.kind, ref.name, afterId, limit)
      .map(entryOf);
  }

  acquire(name: string, owner: string, ttlMs: number): { owner: string; expiresAt: number } {
    const now = this.#clock.now();
    this.#db
      .prepare(
        `INSERT INTO lease VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE
         SET owner = excluded.owner, expires_at = excluded.expires_at
         WHERE lease.owner = excluded.owner OR lease.expires_at <= ?`,
      )
      .run(name, owner, now + ttlMs, now);
    const row = this.#db.prepare("SELECT * FROM lease WHERE name = ?").get(name);
    assert(row, `lease ${name} was written and is not there`);
    return { owner: String(row["owner"]), expiresAt: Number(row["expires_at"]) };
  }

  release(name: string, owner: string): void {
    this.#db.prepare("DELETE FROM lease WHERE name = ? AND owner = ?").run(name, owner);
  }

  #record(
    ref: Ref,
    generation: number,
    before: unknown,
    after: unknown,
    options: WriteOptions,
  ): void {
    this.audit.append({
      at: this.#clock.now(),
      actor: options.actor.name,
      source: options.actor.from,
      action: options.action,
      kind: ref.kind,
      name: ref.name,
      generation,
      change: fieldChanges(before, after),
    });
    this.#notify(ref, "spec");
  }

  // Listeners hear of a write only once it is on disk.
  #notify(...event: Parameters<Listener>): void {
    this.#pending.push(event);
    if (this.#depth === 0) this.#flush();
  }

  #flush(): void {
    const events = this.#pending;
    this.#pending = [];
    for (const event of events) for (const listener of this.#listeners) listener(...event);
  }
}

function checkExpectation(ref: Ref, before: AnyResource | undefined, options: WriteOptions): void {
  const { expectedGeneration } = options;
  if (expectedGeneration === undefined) return;
  if ((before?.generation ?? 0) === expectedGeneration) return;
  throw invalid("resource.conflict", `${ref.kind} ${ref.name} was changed by somebody else`, {
    hint: "look at it again, then repeat the change",
    fields: { expected: expectedGeneration, actual: before?.generation ?? 0 },
  });
}

// What can't be read again must not be kept: it is refused while whoever wrote it can be told.
function assertFits(kind: AnyKind, { name }: Ref, text: string): void {
  const { error } = kind.spec.safeParse(JSON.parse(text));
  assert(!error, `${kind.name} ${name} does not fit its kind: ${error?.message ?? ""}`);
}

type Row = Record<string, unknown>;

const storedRow = (row: Row): StoredRow => ({
  kind: String(row["kind"]),
  name: String(row["name"]),
  uid: String(row["uid"]),
  spec: String(row["spec"]),
  specVersion: Number(row["spec_version"]),
});

/** With its spec as it lies there. */
function resourceOf(row: Row): AnyResource {
  return {
    kind: String(row["kind"]),
    name: String(row["name"]),
    uid: String(row["uid"]),
    generation: Number(row["generation"]),
    spec: JSON.parse(String(row["spec"])),
    status: row["status"] === null ? undefined : JSON.parse(String(row["status"])),
    deleting: row["deleting"] === 1,
    createdAt: Number(row["created_at"]),
    updatedAt: Number(row["updated_at"]),
  };
}

function entryOf(row: Row): JournalEntry {
  return {
    id: Number(row["id"]),
    kind: String(row["kind"]),
    name: String(row["name"]),
    generation: Number(row["generation"]),
    step: JSON.parse(String(row["step"])) as AnyStep,
    startedAt: Number(row["started_at"]),
    endedAt: row["ended_at"] === null ? undefined : Number(row["ended_at"]),
    outcome: row["outcome"] as JournalEntry["outcome"],
    error: row["error"] === null ? undefined : String(row["error"]),
  };
}
