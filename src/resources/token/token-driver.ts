// What tokens need from the world: where their digests lie.

import type { Redacted } from "../../kernel/redacted.ts";

export interface Tokens {
  /** Makes the token of that id; shown once. */
  issue(id: string): Redacted;
  remove(id: string): void;
  lastUsedAt(id: string): number | undefined;
}
