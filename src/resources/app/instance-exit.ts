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
