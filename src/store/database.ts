// The platform's memory: one SQLite file, WAL, synchronous=FULL, so what was answered is on disk.
// A file that does not pass its check, or ends before what was acknowledged, is never opened for
// writing: the way back is said instead.

import { copyFileSync, existsSync, renameSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { asHoldfastError, stuck } from "../kernel/error.ts";
import { AuditHeadFile } from "./audit-head-file.ts";
import { copiesDir, listCopies, type StateCopy } from "./state-copies.ts";

/** Each entry is applied once, in order. Never edit one that was released: add the next. */
const MIGRATIONS: readonly string[] = [
  `CREATE TABLE resource (
     kind TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL UNIQUE,
     generation INTEGER NOT NULL, spec TEXT NOT NULL, status TEXT,
     deleting INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
     PRIMARY KEY (kind, name)
   ) STRICT;
   CREATE TABLE audit (
     seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, actor TEXT NOT NULL, source TEXT NOT NULL,
     action TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL,
     change TEXT NOT NULL, prev_hash TEXT NOT NULL, hash TEXT NOT NULL
   ) STRICT;
   CREATE TABLE journal (
     id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name TEXT NOT NULL,
     generation INTEGER NOT NULL, step TEXT NOT NULL, started_at INTEGER NOT NULL,
     ended_at INTEGER, outcome TEXT NOT NULL, error TEXT
   ) STRICT;
   CREATE INDEX journal_by_resource ON journal (kind, name, id);
   CREATE TABLE lease (
     name TEXT PRIMARY KEY, owner TEXT NOT NULL, expires_at INTEGER NOT NULL
   ) STRICT;
   CREATE TABLE sealed (
     name TEXT NOT NULL, version INTEGER NOT NULL, box BLOB NOT NULL, created_at INTEGER NOT NULL,
     PRIMARY KEY (name, version)
   ) STRICT;
   CREATE TABLE token (
     name TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, created_at INTEGER NOT NULL
   ) STRICT;`,
  `CREATE TABLE audit_head (
     one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, seal TEXT NOT NULL
   ) STRICT;`,
  `ALTER TABLE token ADD COLUMN used_at INTEGER;`,
  `ALTER TABLE resource ADD COLUMN spec_version INTEGER NOT NULL DEFAULT 1;`,
];

export function openDatabase(path: string): DatabaseSync {
  try {
    assertWhole(path);
    const db = new DatabaseSync(path);
    db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;");
    checkIntegrity(db);
    migrate(db);
    return db;
  } catch (cause) {
    throw explain(path, cause);
  }
}

/**
 * Whether a state is what it last said it was, before anything of it is touched: read only, so that a
 * damaged log of writes stays as it is.
 */
function assertWhole(path: string): void {
  const head = headFileOf(path).read();
  const copies = listCopies(path);
  const known = Math.max(head?.seq ?? 0, ...copies.map(({ seq }) => seq));
  if (known === 0) return;
  if (!existsSync(path))
    throw stuck("state.missing", `the state file ${path} is gone, what it held is known`, {
      hint: wayBack(path, copies),
    });
  const found = statSync(path).size === 0 ? NOTHING : lookInto(path, head?.seq ?? 0);
  if (found.seq < known)
    throw stuck(
      "state.behind",
      `the state file ${path} ends at audit event ${found.seq}, and ${known} was acknowledged: ${known - found.seq} are missing`,
      { hint: wayBack(path, copies) },
    );
  if (head && found.hash !== head.hash)
    throw stuck(
      "state.replaced",
      `the state file ${path} is not the one that was written last: its audit event ${head.seq} is another`,
      { hint: wayBack(path, copies) },
    );
}

const NOTHING = { seq: 0, hash: undefined };

/** The number of its last audit event, and the hash of that with the given number. */
function lookInto(path: string, seq: number) {
  const db = new DatabaseSync(path, { readOnly: true });
  try {
    checkIntegrity(db);
    const hasAudit = db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'audit'").get();
    if (!hasAudit) return NOTHING;
    const last = db.prepare("SELECT max(seq) AS seq FROM audit").get();
    const row = db.prepare("SELECT hash FROM audit WHERE seq = ?").get(seq);
    return { seq: Number(last?.["seq"] ?? 0), hash: row?.["hash"] };
  } finally {
    db.close();
  }
}

function wayBack(path: string, copies: readonly StateCopy[]): string {
  const best = bestOf(copies);
  const nothing = "nothing was changed and what runs keeps serving.";
  if (!best)
    return `${nothing} There is no copy: put the file back from your own backup, or move ${dirname(path)} away to begin with an empty state`;
  return `${nothing} holdfast up --restore-state puts back the copy of ${new Date(best.at).toISOString()}, which ends at audit event ${best.seq}; all of the damaged state is kept`;
}

/** The one that goes furthest; of those, the newest. */
const bestOf = (copies: readonly StateCopy[]): StateCopy | undefined =>
  copies.toSorted((one, other) => other.seq - one.seq || other.at - one.at)[0];

export const headFileOf = (path: string): AuditHeadFile => new AuditHeadFile(`${path}.head`);

function checkIntegrity(db: DatabaseSync): void {
  const row = db.prepare("PRAGMA quick_check(1)").get();
  const verdict = String(Object.values(row ?? {})[0]);
  if (verdict !== "ok") throw new Error(`file is not a database (${verdict})`);
}

function migrate(db: DatabaseSync): void {
  const { user_version: at } = db.prepare("PRAGMA user_version").get() as { user_version: number };
  if (at > MIGRATIONS.length) {
    throw stuck("state.newer", `the state was written by a newer Holdfast (schema ${at})`, {
      hint: "run this installation with the newer version, or set HOLDFAST_HOME to another folder",
    });
  }
  for (let version = at; version < MIGRATIONS.length; version += 1) {
    db.exec(`BEGIN; ${MIGRATIONS[version]} PRAGMA user_version = ${version + 1}; COMMIT;`);
  }
}

function explain(path: string, cause: unknown): Error {
  const error = asHoldfastError(cause);
  if (error.actsNext === "operator") return error;
  if (!/not a database|malformed|corrupt|disk image/i.test(error.message)) return error;
  return stuck("state.corrupted", `the state file ${path} is damaged (${error.message})`, {
    hint: wayBack(path, listCopies(path)),
    cause,
  });
}

export interface Restored {
  readonly copy: StateCopy;
  /** Where the damaged state is. */
  readonly kept: string;
  /** Audit events that were acknowledged and are not in the copy. */
  readonly lost: number;
}

/**
 * Puts the copy that goes furthest in the place of a damaged state, all of which is kept.
 *
 * @throws state.no_copy
 */
export function restoreDatabase(path: string, now: number): Restored {
  const copies = listCopies(path);
  const damaged = copies.filter(({ file }) => !isWhole(file));
  const copy = bestOf(copies.filter((one) => !damaged.includes(one)));
  if (!copy)
    throw stuck("state.no_copy", `there is no whole copy of the state in ${copiesDir(path)}`, {
      hint: `move ${dirname(path)} away to begin with an empty state`,
    });
  const head = headFileOf(path).read();
  const kept = `${path}.damaged-${now}`;
  const fresh = `${path}.restored`;
  copyFileSync(copy.file, fresh);
  // With its log of writes, which may hold what the file itself does not have yet.
  for (const suffix of ["", "-wal", "-shm", ".head"])
    if (existsSync(`${path}${suffix}`)) renameSync(`${path}${suffix}`, `${kept}${suffix}`);
  // Kept too, and not counted on any more.
  for (const { file } of damaged) renameSync(file, `${file}.damaged-${now}`);
  renameSync(fresh, path);
  return { copy, kept, lost: Math.max(0, (head?.seq ?? 0) - copy.seq) };
}

function isWhole(file: string): boolean {
  try {
    lookInto(file, 0);
    return true;
  } catch {
    return false;
  }
}
