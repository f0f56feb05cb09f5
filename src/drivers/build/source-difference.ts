// What differs between two trees of source, told by the names of files.

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { listTree } from "./tree.ts";

export async function compareTrees(one: string, other: string) {
  const [before, after] = await Promise.all([hashesOf(one), hashesOf(other)]);
  // As those who number them mean it: 9 before 10.
  const changed = [...after.keys()]
    .filter((name) => before.get(name) !== after.get(name))
    .sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const removed = [...before.keys()].filter((name) => !after.has(name)).sort();
  return { changed, removed };
}

async function hashesOf(dir: string): Promise<ReadonlyMap<string, string>> {
  const entries = await listTree(dir).catch(() => []);
  const hashes = new Map<string, string>();
  for (const { name, stat } of entries) {
    if (!stat.isFile()) continue;
    const hash = createHash("sha256");
    await pipeline(createReadStream(join(dir, name)), hash);
    hashes.set(name, hash.digest("hex"));
  }
  return hashes;
}
