// What is remembered of every change, and how it is asked for.

export interface FieldChange {
  /** Dotted: `scale.web`. */
  readonly field: string;
  readonly from?: unknown;
  readonly to?: unknown;
}

export interface AuditEvent {
  readonly seq: number;
  readonly at: number;
  readonly actor: string;
  readonly source: string;
  readonly action: string;
  readonly kind: string;
  readonly name: string;
  readonly generation: number;
  readonly change: readonly FieldChange[];
  readonly prevHash: string;
  readonly hash: string;
}

export interface AuditFilter {
  readonly limit: number;
  readonly before?: number | undefined;
  /** ms since the epoch */
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  readonly actor?: string | undefined;
  readonly action?: string | undefined;
  readonly kind?: string | undefined;
  /** A part of the name. */
  readonly name?: string | undefined;
  /** A part of what changed. */
  readonly text?: string | undefined;
}

export type AuditVerdict =
  | { readonly intact: true; readonly events: number; readonly head: string }
  | { readonly intact: false; readonly brokenAt: number; readonly reason: string };

/** What was done and by whom, for ever. */
export interface Audit {
  /** Newest first. */
  search(filter: AuditFilter): readonly AuditEvent[];
  /** Oldest first. */
  all(): Iterable<AuditEvent>;
  head(): { readonly seq: number; readonly hash: string };
  holds(head: { readonly seq: number; readonly hash: string }): boolean;
  verify(): AuditVerdict;
  /** What was not let happen is remembered too. */
  append(event: Omit<AuditEvent, "seq" | "hash" | "prevHash">): void;
}
