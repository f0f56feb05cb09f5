// Which held source somebody let go; what is held is in the status of the app.

import { defineKind } from "../../kernel/kind.ts";

export const HOLD = defineKind<HoldSpec>({ name: "hold", scope: "app", goesWithApp: true });

/** Named like its app: what somebody let go. */
export interface HoldSpec {
  readonly released: readonly { readonly digest: string; readonly at: number }[];
}
