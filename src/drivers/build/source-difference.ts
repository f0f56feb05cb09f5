// What differs between two trees of source, told by the names of files.

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { join, relative } from "node:path";
import { pipeline } from "node:stream/promises";

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
  const entries = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries.filter((entry) => entry.isFile());
  const hashes = new Map<string, string>();
  for (const file of files) {
    const path = join(file.parentPath, file.name);
    const hash = createHash("sha256");
    await pipeline(createReadStream(path), hash);
    hashes.set(relative(dir, path), hash.digest("hex"));
  }
  return hashes;
}
