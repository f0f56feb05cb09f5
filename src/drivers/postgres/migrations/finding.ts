// What a migration's reader finds.

/** Before it has its file and line. */
export interface Found {
  /**
   * contract: what still runs may break. lock: readers or writers wait meanwhile. unread: nobody can
   * say what it does. start: what runs it can't be held back.
   */
  readonly kind: "contract" | "lock" | "unread" | "start";
  readonly text: string;
  /** Lines below the statement's own: of a block's body. */
  readonly line?: number;
}

export interface MigrationFinding extends Found {
  readonly file: string;
  readonly line: number;
}

export const contract = (text: string): Found[] => [{ kind: "contract", text }];
export const lock = (text: string): Found[] => [{ kind: "lock", text }];
export const unread = (text: string): Found[] => [{ kind: "unread", text }];
