// What the API needs from the rest of the control plane.

import type { Readable } from "node:stream";
import type { Clock } from "../kernel/clock.ts";
import type { Redacted } from "../kernel/redacted.ts";
import type { Ref } from "../kernel/resource.ts";
import type { JournalEntry, ResourceStore } from "../kernel/resource-store.ts";
import type { LogFilter, TrafficSummary } from "../kernel/signal.ts";

export interface SourceUploads {
  /** Unpacks a (gzipped) tar of the source. */
  add(archive: Readable): Promise<{ readonly digest: string; readonly bytes: number }>;
  readFiles(digest: string, names: readonly string[]): Record<string, string>;
}

export interface SecretValues {
  /** Stores the next version of a secret; returns its number. */
  add(appName: string, name: string, value: Redacted): number;
  /** Forgets every version. */
  removeAll(appName: string): void;
}

/** The telemetry process, as the API sees it. */
export interface TelemetryReader {
  /** Undefined where it is away: then there is nothing to show. */
  traffic(sinceMs: number): Promise<readonly TrafficSummary[] | undefined>;
  /** NDJSON: one LogLine per line. */
  logs(question: LogFilter & { readonly follow: boolean }, signal: AbortSignal): Promise<Readable>;
  /** @throws telemetry.away, or what it refused with */
  ask<Answer>(path: string, question: unknown, signal?: AbortSignal): Promise<Answer>;
}

export interface AuditReader {
  list(limit: number, beforeSeq?: number): readonly unknown[];
  verify(): unknown;
}

export interface ApiDeps {
  readonly clock: Clock;
  readonly store: ResourceStore;
  readonly sources: SourceUploads;
  readonly secrets: SecretValues;
  readonly telemetry: TelemetryReader;
  readonly audit: AuditReader;
  readonly journalOf: (ref: Ref, limit: number, afterId?: number) => readonly JournalEntry[];
  /** The holder of a bearer token, or undefined. */
  readonly findTokenHolder: (token: string) => string | undefined;
  readonly publicUrl: (host: string) => string;
  /** Facts of this installation for `status`. */
  readonly installation: () => Readonly<Record<string, unknown>>;
  readonly newId: () => string;
}
