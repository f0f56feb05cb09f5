// What the API needs from the rest of the control plane.

import type { Readable } from "node:stream";
import type { Clock } from "../kernel/clock.ts";
import type { Redacted } from "../kernel/redacted.ts";
import type { Ref } from "../kernel/resource.ts";
import type { JournalEntry, ResourceStore } from "../kernel/resource-store.ts";

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

/** What the edge saw of one service and release in a stretch of time. */
export interface TrafficSummary {
  readonly app: string;
  readonly service: string;
  readonly release: number;
  readonly requests: number;
  readonly errors: number;
  readonly requestsPerSecond: number;
  /** Milliseconds. */
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
}

export interface LogQuery {
  readonly app?: string | undefined;
  readonly service?: string | undefined;
  readonly instance?: string | undefined;
  readonly sinceMs: number;
  readonly limit: number;
  readonly follow: boolean;
}

/** The telemetry process, as the API sees it. It may be away: then there is nothing to show. */
export interface TelemetryReader {
  traffic(sinceMs: number): Promise<readonly TrafficSummary[] | undefined>;
  /** NDJSON: one LogLine per line. */
  logs(query: LogQuery, signal: AbortSignal): Promise<Readable>;
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
