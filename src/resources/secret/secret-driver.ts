// What secrets need from the world: a vault that seals them.

import type { Redacted } from "../../kernel/redacted.ts";

export interface SecretValues {
  /** Stores the next version of a secret; returns its number. */
  add(appName: string, name: string, value: Redacted): number;
  /** Forgets every version. */
  removeAll(appName: string): void;
}
