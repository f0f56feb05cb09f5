// What processes take of the machine, from /proc.

import { readFileSync } from "node:fs";

const TICKS_PER_SECOND = 100;

export interface ProcessUse {
  /** Resident, what is shared counted for each. */
  readonly memoryMb: number;
  /** Of one core. */
  readonly cpuShare: number;
}

/** Of one process, over some seconds. */
export async function processUse(pid: number, seconds: number): Promise<ProcessUse> {
  const before = cpuSeconds(pid);
  await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
  const cpuShare = (cpuSeconds(pid) - before) / seconds;
  const resident = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return { memoryMb: Number(resident) / 1024, cpuShare };
}

function cpuSeconds(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
