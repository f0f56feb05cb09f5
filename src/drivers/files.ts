// Small files that are whole or not there: a reader never sees half of one.

import {
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
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

export function writeWhole(path: string, text: string, mode = 0o600): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.new`, text, { mode });
  renameSync(`${path}.new`, path);
}

/** Gives a folder and all below it to a user (and the group of the same number). */
export function chownTree(path: string, uid: number, except: readonly string[] = []): void {
  lchownSync(path, uid, uid);
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const at = join(path, entry.name);
    if (except.includes(entry.name)) continue;
    if (entry.isDirectory()) chownTree(at, uid);
    else lchownSync(at, uid, uid);
  }
}
