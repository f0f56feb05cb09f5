// Values of resources that are sealed: a spec names them by key and version, the vault has them.

import type { Redacted } from "./redacted.ts";
import type { Ref } from "./resource.ts";

export interface SealedValues {
  /** Stores the next version; returns its number. */
  add(of: Ref, key: string, value: Redacted): number;
  /** @throws sealed.missing */
  read(of: Ref, key: string, version: number): Redacted;
  /** What the resource's own messages are signed with, as Standard Webhooks writes it; made at the first call. */
  signingKey(of: Ref): string;
  /** Forgets all of the resource's. */
  removeAll(of: Ref): void;
}
