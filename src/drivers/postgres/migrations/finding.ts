// What a migration's reader finds.

import type { MigrationFinding } from "../../../resources/release/release-driver.ts";

/** Before it has its file and line. */
export interface Found extends Pick<MigrationFinding, "kind" | "text"> {
  /** Lines below the statement's own: of a block's body. */
  readonly line?: number;
}

export const contract = (text: string): Found[] => [{ kind: "contract", text }];
export const lock = (text: string): Found[] => [{ kind: "lock", text }];
export const unread = (text: string): Found[] => [{ kind: "unread", text }];
