// Small files that are whole or not there: a reader never sees half of one.

import { randomBytes } from "node:crypto";
import {
  chmodSync,
  closeSync,
  fsyncSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  type Stats,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";

export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH" || code === "ENOTDIR") return undefined;
    throw error;
  }
}

export function readJson<Value>(path: string): Value | undefined {
  const text = readText(path);
  return text === undefined || text === "" ? undefined : (JSON.parse(text) as Value);
}

/** Whole or not at all: written beside, then renamed. */
export function writeJson(path: string, value: unknown, mode = 0o600): void {
  writeWhole(path, JSON.stringify(value), mode);
}

/** The same, also after a loss of power: for what nobody could find out again. */
export function keepJson(path: string, value: unknown): void {
  writeWhole(path, JSON.stringify(value), 0o600, true);
}

export function writeWhole(path: string, text: string, mode = 0o600, isSynced = false): void {
  mkdirSync(dirname(path), { recursive: true });
  const beside = `${path}.new`;
  // "wx" follows no link that somebody may have put there.
  rmSync(beside, { force: true });
  const file = openSync(beside, "wx", mode);
  try {
    writeFileSync(file, text);
    if (isSynced) fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(beside, path);
}

const KEY_BYTES = 32;

/** A secret of this installation, made at the first call; whoever comes first makes it. */
export function ensureKeyFile(path: string): Buffer {
  mkdirSync(dirname(path), { recursive: true });
  try {
    const beside = `${path}.${process.pid}`;
    writeFileSync(beside, randomBytes(KEY_BYTES), { mode: 0o600, flag: "wx" });
    try {
      linkSync(beside, path);
    } finally {
      rmSync(beside);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  return readFileSync(path);
}

/** Gives a folder and all below it to a user (and the group of the same number). Follows no link. */
export function chownTree(path: string, uid: number): void {
  walk(path, (at) => lchownSync(at, uid, uid));
}

/**
 * From here on nobody but root may change it, and nothing in it gives rights; folders of the top
 * level named in `except` stay as they are.
 */
export function sealTree(path: string, except: readonly string[] = []): void {
  const isRoot = process.getuid?.() === 0;
  walk(
    path,
    (at, stat) => {
      if (isRoot) lchownSync(at, 0, 0);
      if (!stat.isSymbolicLink()) chmodSync(at, stat.mode & SEALED_MODE);
    },
    except,
  );
}

/** Without set-uid, set-gid, sticky, and without writing for group and others. */
const SEALED_MODE = 0o755;

function walk(
  path: string,
  visit: (path: string, stat: Stats) => void,
  except: readonly string[] = [],
): void {
  const stat = lstatSync(path);
  visit(path, stat);
  if (!stat.isDirectory()) return;
  for (const name of readdirSync(path)) if (!except.includes(name)) walk(join(path, name), visit);
}
