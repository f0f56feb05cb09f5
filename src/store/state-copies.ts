// Copies of the platform's memory, by when they were made and how far they go: the newest few, one
// for each hour of a day, one for each day of two weeks. A copy never takes the place of one that
// goes further.

import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { stuck } from "../kernel/error.ts";

export interface StateCopy {
  readonly file: string;
  /** ms since the epoch */
  readonly at: number;
  /** Number of its last audit event. */
  readonly seq: number;
}

const NEWEST_KEPT = 3;
const HOURS_KEPT = 24;
const DAYS_KEPT = 14;
const HOUR_MS = 3_600_000;
const BYTES_MAX = 1024 ** 3;
const NAME = /^(\d+)\.(\d+)\.db$/;

export const copiesDir = (database: string): string => join(dirname(database), "copies");

/** Newest first. */
export function listCopies(database: string): readonly StateCopy[] {
  const dir = copiesDir(database);
  const own = (existsSync(dir) ? readdirSync(dir) : []).flatMap((file): StateCopy[] => {
    const [, at, seq] = NAME.exec(file) ?? [];
    return at === undefined ? [] : [{ file: join(dir, file), at: Number(at), seq: Number(seq) }];
  });
  return own.toSorted((one, other) => other.at - one.at);
}

/**
 * Writes a copy, synced, and drops those that are not kept.
 *
 * @throws state.copy_behind where another goes further than the database does
 */
export function addCopy(db: DatabaseSync, database: string, seq: number, now: number): void {
  const furthest = Math.max(0, ...listCopies(database).map((copy) => copy.seq));
  if (seq < furthest)
    throw stuck(
      "state.copy_behind",
      `the state ends at audit event ${seq}, a copy of it at ${furthest}: no copy was made`,
      { hint: "holdfast down, then holdfast up: it says what is missing and how to go on" },
    );
  const dir = copiesDir(database);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const fresh = join(dir, "new");
  rmSync(fresh, { force: true });
  db.prepare("VACUUM INTO ?").run(fresh);
  sync(fresh);
  renameSync(fresh, join(dir, `${now}.${seq}.db`));
  sync(dir);
  for (const { file } of superfluous(listCopies(database))) rmSync(file, { force: true });
}

/** Of copies, newest first: those that are neither among the newest nor the last of their time. */
export function superfluous(copies: readonly StateCopy[]): readonly StateCopy[] {
  const kept = new Set(copies.slice(0, NEWEST_KEPT));
  for (const [spanMs, count] of [
    [HOUR_MS, HOURS_KEPT],
    [24 * HOUR_MS, DAYS_KEPT],
  ] as const) {
    const bySpan = Map.groupBy(copies, ({ at }) => Math.floor(at / spanMs));
    for (const [newest] of [...bySpan.values()].slice(0, count)) if (newest) kept.add(newest);
  }
  let bytes = 0;
  return copies.filter((copy, index) => {
    if (!kept.has(copy)) return true;
    bytes += existsSync(copy.file) ? statSync(copy.file).size : 0;
    return bytes > BYTES_MAX && index >= NEWEST_KEPT;
  });
}

function sync(path: string): void {
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
