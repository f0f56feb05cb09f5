import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Installation } from "./installation.ts";

/** The process of an instance, from the folder that its driver keeps. */
export function pidOf(installation: Installation, instance: string): number {
  const root = join(installation.home, "instances");
  for (const owner of readdirSync(root)) {
    const file = join(root, owner, instance, "run", "child");
    if (existsSync(file)) return Number.parseInt(readFileSync(file, "utf8"), 10);
  }
  throw new Error(`there is no instance ${instance}`);
}
