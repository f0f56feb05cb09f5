// When an instance that ended by itself is started again, and when that is called a crash loop.

import type { Instance } from "./app-driver.ts";

export const RESTART_FIRST_MS = 500;
export const RESTART_MAX_MS = 60_000;
/** Ends longer ago than this no longer count: it had been running well. */
export const CRASH_MEMORY_MS = 5 * 60_000;
export const CRASH_LOOP_EXITS = 3;
export const STABLE_MS = 30_000;

export function recentExits(instance: Instance, now: number): number {
  return instance.exits.filter(({ at }) => now - at < CRASH_MEMORY_MS).length;
}

/** It ended often of late, and has not yet run long enough to be over it. */
export function isCrashLoop(instance: Instance, now: number): boolean {
  const isStable = instance.state === "running" && now - instance.startedAt >= STABLE_MS;
  return !isStable && recentExits(instance, now) >= CRASH_LOOP_EXITS;
}

/** How long until it may be started again; 0 or less: now. */
export const restartInMs = (instance: Instance, now: number): number =>
  (instance.exit?.at ?? now) + restartDelay(instance, now) - now;

/** How long after its last end it is started again, in ms. */
export function restartDelay(instance: Instance, now: number): number {
  const exits = Math.max(1, recentExits(instance, now));
  return Math.min(RESTART_MAX_MS, RESTART_FIRST_MS * 2 ** (exits - 1));
}
