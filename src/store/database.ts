// The platform's memory: one SQLite file, WAL, synchronous=FULL, so what was answered is on disk.
// A file that does not pass its check is never opened for writing: the way back is said instead.

import { copyFileSync, existsSync, renameSync, rmSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { asHoldfastError, stuck } from "../kernel/error.ts";

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
];

export function openDatabase(path: string): DatabaseSync {
  if (!existsSync(path) && existsSync(backupPath(path))) {
    throw stuck("state.missing", `the state file ${path} is gone, its copy is still there`, {
      hint: `nothing was changed and what runs keeps serving. holdfast up --restore-state puts the copy back; to begin with an empty state move ${backupPath(path)} away`,
    });
  }
  try {
    const db = new DatabaseSync(path);
    db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;");
    checkIntegrity(db);
    migrate(db);
    return db;
  } catch (cause) {
    throw explain(path, cause);
  }
}

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
  const copy = backupPath(path);
  const way = existsSync(copy)
    ? `holdfast up --restore-state puts back the copy of the last clean start (the damaged file is kept)`
    : `move ${path} away and run: holdfast up`;
  return stuck("state.corrupted", `the state file ${path} is damaged (${error.message})`, {
    hint: `nothing was changed and what runs keeps serving. ${way}`,
    cause,
  });
}

const backupPath = (path: string): string => `${path}.last-good`;

/** A copy of a state that passed its check; what `restoreDatabase` puts back. */
export function backUpDatabase(db: DatabaseSync, path: string): void {
  const fresh = `${backupPath(path)}.new`;
  rmSync(fresh, { force: true });
  db.prepare("VACUUM INTO ?").run(fresh);
  renameSync(fresh, backupPath(path));
}

/** Puts the last good copy in the place of a damaged file, which is kept. Returns where. */
export function restoreDatabase(path: string, now: number): string {
  if (!existsSync(backupPath(path))) {
    throw stuck("state.no_copy", `there is no copy to restore beside ${path}`, {
      hint: `move ${path} away to begin with an empty state`,
    });
  }
  const kept = `${path}.damaged-${now}`;
  if (existsSync(path)) renameSync(path, kept);
  for (const suffix of ["-wal", "-shm"]) rmSync(`${path}${suffix}`, { force: true });
  copyFileSync(backupPath(path), path);
  return kept;
}
