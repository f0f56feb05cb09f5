// When the whole installation was last stopped on purpose. What ended then did not end by itself:
// three times `down --all` and `up` is no crash loop.

import { join } from "node:path";
import { readJson, writeJson } from "../drivers/files.ts";
import type { Home } from "./home.ts";

/** Instances get ten seconds to end, containers the same after them. */
const LONGEST_MS = 30_000;

interface LastStop {
  readonly from: number;
  readonly to: number;
}

const fileOf = (home: Home): string => join(home.runDir, "last-stop.json");

/** Before the first instance is told to end; holds also where the stop itself is cut short. */
export function noteStop(home: Home, now: number): void {
  writeJson(fileOf(home), { from: now, to: now + LONGEST_MS } satisfies LastStop);
}

/** All have ended: what ends from now on does so by itself. */
export function noteStopped(home: Home, now: number): void {
  const last = readJson<LastStop>(fileOf(home));
  if (last) writeJson(fileOf(home), { ...last, to: now } satisfies LastStop);
}

/** Whether something that ended at this time (ms) was stopped together with the installation. */
export function wasStoppedAt(home: Home, at: number): boolean {
  const last = readJson<LastStop>(fileOf(home));
  return last !== undefined && at >= last.from && at <= last.to;
}
