// What exports need from the world: a vault for their headers.

import type { Redacted } from "../../kernel/redacted.ts";

/** Headers of exports, sealed. */
export interface ExportSecrets {
  /** Returns its version. */
  add(name: string, headers: Redacted): number;
  read(name: string, version: number): Redacted;
  removeAll(name: string): void;
}
