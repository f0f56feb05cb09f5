// The platform's memory, as the kernel sees it. One implementation: src/store (SQLite, on disk for
// the product, in memory for the simulation).

import type { Kind } from "./kind.ts";
import type { AnyStep } from "./plan.ts";
import type { AnyResource, Ref, Resource } from "./resource.ts";

/** Who asked, and from where. */
export interface Actor {
  /** `owner` (the Unix socket) or the name of a token. */
  readonly name: string;
  readonly from: string;
}

/** The platform itself. */
export const SYSTEM = { name: "holdfast", from: "control-plane" } as const satisfies Actor;

export interface WriteOptions {
  readonly actor: Actor;
  /** What was asked, as a verb: `deploy`, `scale`. */
  readonly action: string;
  /** Refuses the write (`resource.conflict`) unless this is still the generation. 0: must not exist. */
  readonly expectedGeneration?: number;
}

export interface ResourceStore {
  find<Spec, Status>(kind: Kind<Spec, Status>, name: string): Resource<Spec, Status> | undefined;
  /** Ordered by name; only those whose name starts with `prefix`. */
  list<Spec, Status>(kind: Kind<Spec, Status>, prefix?: string): readonly Resource<Spec, Status>[];
  /** Writes the spec and its audit event in one transaction. No change, no new generation. */
  writeSpec<Spec, Status>(
    kind: Kind<Spec, Status>,
    name: string,
    spec: NoInfer<Spec>,
    options: WriteOptions,
  ): Resource<Spec, Status>;
  markDeleting(ref: Ref, options: WriteOptions): void;
  /** Only the reconciler of the kind calls this. */
  writeStatus(ref: Ref, uid: string, status: unknown): void;
  forget(ref: Ref, uid: string): void;
  /** Several writes, all or nothing. */
  transaction<Result>(work: () => Result): Result;
  /** What this would give, and nothing of it stays. Never inside a transaction. */
  rehearse<Result>(work: () => Result): Result;
  /** A hint that a resource was written; losing it costs only time. Returns the unsubscriber. */
  subscribe(listener: (ref: Ref, what: "spec" | "status" | "forgotten") => void): () => void;
}

export interface JournalEntry {
  readonly id: number;
  readonly kind: string;
  readonly name: string;
  readonly generation: number;
  readonly step: AnyStep;
  readonly startedAt: number;
  readonly endedAt: number | undefined;
  readonly outcome: "running" | "done" | "failed" | "lost";
  readonly error: string | undefined;
}

/** What was begun and how it ended: the timeline of a deploy writes itself from this. */
export interface Journal {
  intend(resource: AnyResource, step: AnyStep): number;
  settle(id: number, outcome: "done" | "failed", error?: string): void;
}
