// Whom alerts woke already, in a file: messages are told apart across a restart of the control plane.

import { readJson, writeJson } from "../files.ts";

/** A file that can't be read or written costs a repeated message, never one that is not sent. */
export const toldMemory = (file: string) => ({
  read: (): unknown => {
    try {
      const kept = readJson<unknown>(file);
      return Array.isArray(kept) ? kept : undefined;
    } catch {
      return undefined;
    }
  },
  keep: (told: unknown): void => {
    try {
      writeJson(file, told);
    } catch {
      // A full disk: alerts about it are on their way, and these must not hold them up.
    }
  },
});
