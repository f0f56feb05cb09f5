// What every commit passes: format, lint, types, architecture, generated pages. Under a minute.

import { spawnSync } from "node:child_process";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const bin = (name: string): string => join(root, "node_modules", ".bin", name);
const node = process.execPath;

const STEPS: readonly (readonly [string, readonly string[]])[] = [
  ["format and lint", [bin("biome"), "check", "--error-on-warnings", "."]],
  ["types", [bin("tsc")]],
  ["types of the shop", [bin("tsc"), "-p", "examples/storefront"]],
  ["architecture", [node, "--test", "test/architecture.test.ts"]],
  [
    "generated pages",
    [node, "--disable-warning=ExperimentalWarning", "scripts/reference.ts", "--check"],
  ],
];

for (const [name, [command = "", ...args]] of STEPS) {
  const began = Date.now();
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: root, encoding: "utf8" });
  const seconds = ((Date.now() - began) / 1000).toFixed(1);
  if (status !== 0) {
    console.error(`${stdout}${stderr}\n✗ ${name} (${seconds} s)`);
    process.exit(1);
  }
  console.log(`✓ ${name} (${seconds} s)`);
}
