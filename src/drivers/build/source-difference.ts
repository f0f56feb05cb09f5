// What differs between two trees of source, told by the names of files.

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { listTree } from "./tree.ts";

const DEPENDENCIES =
  /(^|\/)(package(-lock)?\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml|requirements[\w-]*\.txt|pyproject\.toml|poetry\.lock|uv\.lock|Pipfile(\.lock)?|go\.(mod|sum)|Gemfile(\.lock)?|Cargo\.(toml|lock)|composer\.(json|lock))$/;
const MIGRATION = /(^|\/)(migrations?|db\/migrate)\/.+|\.sql$/;

export async function compareTrees(one: string, other: string) {
  const [before, after] = await Promise.all([hashesOf(one), hashesOf(other)]);
  const names = [...new Set([...before.keys(), ...after.keys()])]
    .filter((name) => before.get(name) !== after.get(name))
    .sort();
  const some = (pattern: RegExp): string[] => names.filter((name) => pattern.test(name));
  return { files: names.length, dependencies: some(DEPENDENCIES), migrations: some(MIGRATION) };
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
