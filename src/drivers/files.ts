// Small files that are whole or not there: a reader never sees half of one.

import { randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { runOrThrow } from "./exec.ts";

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

/** A folder's content, or a file, into `to`, with times and modes; links stay links. */
export async function copyTree(from: string, to: string): Promise<void> {
  await runOrThrow(["cp", "-aT", "--", from, to], { timeoutMs: COPY_TIMEOUT_MS });
}

/** The same files, no copy: for what nobody will write to. */
export async function linkTree(from: string, to: string): Promise<void> {
  await runOrThrow(["cp", "-alT", "--", from, to], { timeoutMs: COPY_TIMEOUT_MS });
}

const COPY_TIMEOUT_MS = 10 * 60_000;

/**
 * Takes a folder out of the way at once, so that it is there whole or not at all while it is removed
 * by what this gives back; undefined where it is not there. Both are on one file system.
 */
export function setAside(path: string, dir: string): (() => Promise<void>) | undefined {
  if (!existsSync(path)) return undefined;
  const aside = mkdtempSync(join(dir, "removed-"));
  renameSync(path, join(aside, "tree"));
  return () => removeTree(aside);
}

/** Removes a folder with all in it, however large or deep, without holding anybody up. */
export async function removeTree(path: string): Promise<void> {
  await runOrThrow(["rm", "-rf", "--one-file-system", "--", path], {
    timeoutMs: REMOVE_TIMEOUT_MS,
  });
}

const REMOVE_TIMEOUT_MS = 30 * 60_000;

let cachedBootId: string | undefined;

/** Tells one start of the machine from the next. */
export function bootId(): string {
  cachedBootId ??= readText("/proc/sys/kernel/random/boot_id")?.trim() ?? "unknown";
  return cachedBootId;
}
