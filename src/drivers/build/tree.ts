// A folder as a whole: what it holds (its digest), whether it was touched since (its fingerprint),
// and how it is closed to everybody but us. Names are bytes, as the file system has them. No walk
// here follows a link; whoever calls makes sure that nobody can change the folder meanwhile.

import { createHash, type Hash } from "node:crypto";
import {
  chmodSync,
  closeSync,
  lchownSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  type Stats,
  unlinkSync,
} from "node:fs";
import { setImmediate } from "node:timers/promises";
import { invalid } from "../../kernel/error.ts";

/** Longest stretch of work without a look at anything else that waits. */
const TURN_MS = 8;
const READ_BYTES = 256 * 1024;
/** The kernel takes no longer path, so nothing deeper can be named. */
const PATH_MAX_BYTES = 4_000;
const SEPARATOR = Buffer.from("/");

interface Entry {
  readonly path: Buffer;
  /** From the folder that was begun with. */
  readonly name: Buffer;
  readonly stat: Stats;
}

/** Every entry below a folder in the order of names, a folder before what is in it. */
async function* walk(root: string | Buffer, below = Buffer.alloc(0)): AsyncGenerator<Entry> {
  const pending = [{ path: Buffer.from(root), name: below }];
  let turnEnds = performance.now() + TURN_MS;
  for (let next = pending.pop(); next; next = pending.pop()) {
    if (performance.now() > turnEnds) {
      await setImmediate();
      turnEnds = performance.now() + TURN_MS;
    }
    const { path, name } = next;
    const stat = lstatSync(path);
    if (name.length > 0) yield { path, name, stat };
    if (!stat.isDirectory()) continue;
    const children = readdirSync(path, { encoding: "buffer" }).sort(Buffer.compare).reverse();
    for (const child of children) {
      const at = Buffer.concat([path, SEPARATOR, child]);
      if (at.length > PATH_MAX_BYTES)
        throw invalid(
          "tree.too_deep",
          `a path is longer than ${PATH_MAX_BYTES} bytes: ${at.subarray(0, 200)}…`,
          {
            hint: "leave out what nests this deep",
          },
        );
      pending.push({
        path: at,
        name: name.length > 0 ? Buffer.concat([name, SEPARATOR, child]) : child,
      });
    }
  }
}

export interface TreeEntry {
  /** From the folder, with slashes. */
  readonly name: string;
  readonly stat: Stats;
}

/** All that is below a folder, a folder before what is in it. */
export async function listTree(root: string): Promise<readonly TreeEntry[]> {
  const entries: TreeEntry[] = [];
  for await (const { name, stat } of walk(root)) entries.push({ name: name.toString(), stat });
  return entries;
}

/** Gives a folder and all below it to a user (and the group of the same number). */
export async function chownTree(root: string, uid: number): Promise<void> {
  lchownSync(root, uid, uid);
  for await (const { path } of walk(root)) lchownSync(path, uid, uid);
}

const FOLDER_MODE = 0o755;
const PROGRAM_MODE = 0o755;
const FILE_MODE = 0o644;

/**
 * From here on nobody but root may change it, everybody may read it, and nothing in it gives rights.
 * What is neither file, folder nor link is removed; returns how many those were. Refuses what belongs
 * to somebody else than us and `owner`.
 */
export async function sealTree(root: string, owner: number | undefined): Promise<number> {
  let removed = 0;
  const seal = (path: string | Buffer, stat: Stats): void => {
    if (owner !== undefined && stat.uid !== owner && stat.uid !== 0)
      throw invalid("tree.of_another_user", `${path} belongs to the user ${stat.uid}`, {
        hint: "a build may only leave what it made itself",
      });
    if (owner !== undefined) lchownSync(path, 0, 0);
    if (stat.isDirectory()) chmodSync(path, FOLDER_MODE);
    else if (stat.isFile()) chmodSync(path, stat.mode & 0o111 ? PROGRAM_MODE : FILE_MODE);
    else if (!stat.isSymbolicLink()) {
      unlinkSync(path);
      removed += 1;
    }
  };
  seal(root, lstatSync(root));
  for await (const { path, stat } of walk(root)) seal(path, stat);
  return removed;
}

/**
 * sha256 over every name, kind and content below a folder. `known` has the digests of folders of the
 * top level that were digested before, by name.
 */
export async function digestTree(
  root: string,
  known: ReadonlyMap<string, string> = new Map(),
): Promise<string> {
  const hash = createHash("sha256");
  const base = Buffer.from(root);
  for (const name of readdirSync(root, { encoding: "buffer" }).sort(Buffer.compare)) {
    const path = Buffer.concat([base, SEPARATOR, name]);
    part(hash, name);
    hash.update(known.get(name.toString()) ?? (await digestEntry(path)));
  }
  return hash.digest("hex");
}

/** Of one entry with all that is in it, without its own name. */
export async function digestEntry(path: string | Buffer): Promise<string> {
  const hash = createHash("sha256");
  addEntry(hash, Buffer.from(path), lstatSync(path));
  for await (const { path: at, name, stat } of walk(path)) {
    part(hash, name);
    addEntry(hash, at, stat);
  }
  return hash.digest("hex");
}

function addEntry(hash: Hash, path: Buffer, stat: Stats): void {
  if (stat.isDirectory()) hash.update("d");
  else if (stat.isSymbolicLink()) {
    hash.update("l");
    part(hash, readlinkSync(path, { encoding: "buffer" }));
  } else if (stat.isFile()) {
    hash.update(stat.mode & 0o111 ? "x" : "f");
    part(hash, fileDigest(path));
  } else hash.update("?");
}

// With its length before it: no two lists of names and contents read the same.
function part(hash: Hash, bytes: Buffer): void {
  hash.update(`${bytes.length}:`);
  hash.update(bytes);
}

let block: Buffer | undefined;

function fileDigest(path: Buffer): Buffer {
  const hash = createHash("sha256");
  block ??= Buffer.allocUnsafe(READ_BYTES);
  const file = openSync(path, "r");
  try {
    for (let read = readSync(file, block); read > 0; read = readSync(file, block))
      hash.update(block.subarray(0, read));
  } finally {
    closeSync(file);
  }
  return hash.digest();
}

/**
 * Changes when anything below the folder was written, replaced, or given other rights, as far as the
 * file system keeps account of that; reads no content.
 */
export async function fingerprintTree(root: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const { path, name, stat } of walk(root)) {
    part(hash, name);
    hash.update(`${stat.mode} ${stat.uid} ${stat.size} ${stat.ino} ${stat.mtimeMs} `);
    if (stat.isSymbolicLink()) part(hash, readlinkSync(path, { encoding: "buffer" }));
  }
  return hash.digest("hex");
}
