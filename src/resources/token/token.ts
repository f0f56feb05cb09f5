// A token of an account: what it may do is what the account may, or less.

import { defineKind } from "../../kernel/kind.ts";

export const TOKEN = defineKind<TokenSpec>({ name: "token", scope: "installation" });

export interface TokenSpec {
  readonly account: string;
  /** `staging/developer`: of the account's roles only these; empty: all of them. */
  readonly scope: readonly string[];
  /** ms since the epoch */
  readonly expiresAt: number;
  readonly label: string;
  /** Who made it, where it was not the account itself: until that has accepted it, it decides nothing. */
  readonly madeBy?: string;
}
