// The Node that Holdfast brings: apps and builds get it too. It is put where the apps' own users can
// reach it, whatever folder this checkout is in.

import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { join } from "node:path";
import type { Home } from "./home.ts";

export interface NodeRuntime {
  readonly version: string;
  readonly binDir: string;
}

export function ensureRuntime(home: Home, checkout: string): NodeRuntime {
  const version = process.versions.node;
  const dir = join(home.runtimeDir, `node-${version}`);
  const binDir = join(dir, "bin");
  if (existsSync(join(dir, "complete"))) return { version, binDir };
  const fresh = `${dir}.new`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(join(fresh, "bin"), { recursive: true, mode: 0o755 });
  linkOrCopy(process.execPath, join(fresh, "bin", "node"));
  cpSync(join(checkout, "node_modules", "npm"), join(fresh, "npm"), { recursive: true });
  for (const tool of ["npm", "npx"]) {
    chmodSync(join(fresh, "npm", "bin", `${tool}-cli.js`), 0o755);
    symlinkSync(join("..", "npm", "bin", `${tool}-cli.js`), join(fresh, "bin", tool));
  }
  mkdirSync(join(fresh, "complete"));
  rmSync(dir, { recursive: true, force: true });
  renameSync(fresh, dir);
  return { version, binDir };
}

// 140 MB: a hard link where the file system allows it.
function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch {
    copyFileSync(from, to);
    chmodSync(to, 0o755);
  }
}
