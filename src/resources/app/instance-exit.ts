// How an instance ended, in words.

import type { InstanceExit } from "./app-driver.ts";

export function exitText(exit: InstanceExit | undefined): string {
  const what =
    exit?.code !== undefined
      ? `exit status ${exit.code}`
      : exit?.signal
        ? `signal ${exit.signal}`
        : "an unknown status";
  return exit?.detail ? `${what} (${exit.detail})` : what;
}

/** What the compute drivers say where the kernel ended something for its memory. */
export const OUT_OF_MEMORY = "out of memory";

export const wasMemoryKill = ({ detail }: InstanceExit): boolean =>
  detail?.startsWith(OUT_OF_MEMORY) === true;
