// What process groups use, from /proc: for instances that have no control group.

import { readdirSync } from "node:fs";
import type { ResourceUse } from "../../kernel/signal.ts";
import { readText } from "../files.ts";

const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4_096;
/** Instances are asked one after the other, of the same look at all processes. */
const LOOK_MAX_AGE_MS = 1_000;

let look: { readonly at: number; readonly groups: ReadonlyMap<number, ResourceUse> } | undefined;

/** Of the group that `leader` began; undefined where nothing of it runs. */
export function groupUse(leader: number, now: number): ResourceUse | undefined {
  if (!look || now - look.at > LOOK_MAX_AGE_MS) look = { at: now, groups: readGroups() };
  return look.groups.get(leader);
}

// `pid (name) state ppid pgrp … utime stime cutime cstime … rss`: see proc(5). Pages that several
// share are counted for each of them.
function readGroups(): ReadonlyMap<number, ResourceUse> {
  const groups = new Map<number, ResourceUse>();
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const text = readText(`/proc/${entry}/stat`);
    if (text === undefined) continue;
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    // It has ended; only its exit status is still waited for.
    if (fields[0] === "Z" || fields[0] === "X") continue;
    const number = (index: number): number => Number(fields[index] ?? 0);
    const known = groups.get(number(2)) ?? { cpuSeconds: 0, memoryBytes: 0 };
    const ticks = number(11) + number(12) + number(13) + number(14);
    groups.set(number(2), {
      cpuSeconds: known.cpuSeconds + ticks / TICKS_PER_SECOND,
      memoryBytes: known.memoryBytes + number(21) * PAGE_BYTES,
    });
  }
  return groups;
}
