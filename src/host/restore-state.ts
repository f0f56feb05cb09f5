// `holdfast up --restore-state`: a copy in the place of a state that can't be used.

import { keepJson } from "../drivers/files.ts";
import { restoreDatabase } from "../store/database.ts";
import type { Home } from "./home.ts";

export interface RestoreNote {
  /** ms since the epoch */
  readonly at: number;
  readonly copyOf: string;
  readonly lastEvent: number;
  readonly lostEvents: number;
  readonly keptAs: string;
}

/** Gives what was done in words; the control plane notes it in the audit when it starts. */
export function restoreState(home: Home, now: number): string {
  const { copy, kept, lost } = restoreDatabase(home.database, now);
  const copyOf = new Date(copy.at).toISOString();
  const note: RestoreNote = {
    at: now,
    copyOf,
    lastEvent: copy.seq,
    lostEvents: lost,
    keptAs: kept,
  };
  keepJson(home.restoreNote, note);
  const missing =
    lost === 0
      ? "nothing is missing"
      : `${lost} acknowledged ${lost === 1 ? "change is" : "changes are"} missing (audit events ${copy.seq + 1} to ${copy.seq + lost}): make them again`;
  return `the state is that of ${copyOf}; ${missing}; the damaged one is kept as ${kept}`;
}
