// What the API needs from the rest of the control plane.

import type { Readable } from "node:stream";
import type { AuditEvent, AuditFilter, AuditVerdict } from "../kernel/audit.ts";
import type { Clock } from "../kernel/clock.ts";
import type { Redacted } from "../kernel/redacted.ts";
import type { Ref } from "../kernel/resource.ts";
import type { JournalEntry, ResourceStore } from "../kernel/resource-store.ts";
import type { LogFilter, TrafficSummary } from "../kernel/signal.ts";
import type { Authorizer } from "../resources/account/permissions.ts";
import type { MetricScope, MetricValue } from "../resources/app/app-driver.ts";
import type { Objective } from "../resources/app/objectives.ts";
import type { AppMetric } from "../resources/app/rollout-policy.ts";
import type { AlertNotice, Delivery } from "../resources/channel/channel.ts";
import type { CommitNews, ForgeTarget } from "../resources/push/push-driver.ts";
import type { Provider } from "../resources/repository/repository.ts";
import type { Task } from "../resources/task/task.ts";
import type { ToldMemory } from "./told-groups.ts";

export interface SourceUpload {
  readonly digest: string;
  readonly bytes: number;
}

export interface SourceUploads {
  /** Unpacks a (gzipped) tar of the source; ends where the signal fires. */
  /** `who`: an account; of one there are a few at once. */
  add(archive: Readable, who: string, signal: AbortSignal): Promise<SourceUpload>;
  readFiles(digest: string, names: readonly string[]): Record<string, string>;
  /** Names of files that are new or different in the other source, and of those that are gone. */
  compare(
    one: string,
    other: string,
  ): Promise<{ readonly changed: readonly string[]; readonly removed: readonly string[] }>;
}

export interface SourceDifference {
  readonly files: number;
  readonly dependencies: readonly string[];
  readonly migrations: readonly string[];
}

/** Something in a migration that a person should know of before it runs. */
export interface MigrationFinding {
  readonly file: string;
  readonly line: number;
  /**
   * contract: what still runs may break. lock: others wait meanwhile. unread: nobody can say what it
   * does. start: whatever runs it can't be held back.
   */
  readonly kind: "contract" | "lock" | "unread" | "start";
  readonly text: string;
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

/** Prometheus and Alertmanager, as the API sees them. */
export interface MonitoringReader {
  /**
   * Prometheus' own API; gives its whole answer, with an environment only what is of that.
   *
   * @throws metrics.bad_query, metrics.away
   */
  ask(
    path: string,
    params: Readonly<Record<string, string | readonly string[]>>,
    environment?: string,
  ): Promise<unknown>;
  /** Alertmanager's API. @throws alerting.refused, alerting.away */
  alertmanager(method: string, path: string, body?: unknown): Promise<unknown>;
}

/** Addresses of channels, sealed. */
export interface ChannelSecrets {
  /** Returns its version. */
  add(channel: string, address: Redacted): number;
  read(channel: string, version: number): Redacted;
  /** What signs its deliveries, as Standard Webhooks writes it; made at the first call. */
  signingKey(channel: string): string;
  removeAll(channel: string): void;
}

/** Headers of exports, sealed. */
export interface ExportSecrets {
  /** Returns its version. */
  add(name: string, headers: Redacted): number;
  read(name: string, version: number): Redacted;
  removeAll(name: string): void;
}

/** Tokens of connected repositories, and what their webhooks sign with, sealed. */
export interface RepositorySecrets {
  /** Returns its version. */
  add(repository: string, token: Redacted): number;
  token(repository: string, version: number): Redacted;
  /** Made at the first call. */
  webhook(repository: string): string;
  removeAll(repository: string): void;
}

/** Deliveries of a repository's webhook that were not taken, since the control plane started. */
export interface RefusedDeliveries {
  readonly count: number;
  readonly lastAt: number;
  readonly why: string;
}

export interface RemoteBranch {
  readonly url: string;
  readonly branch: string;
  readonly provider: Provider;
  readonly token: Redacted | undefined;
}

/** Repositories elsewhere. Both throw repository.refused, .not_found, .no_branch and .away. */
export interface RemoteRepositories {
  /** The commit that the branch points at. */
  head(remote: RemoteBranch, signal?: AbortSignal): Promise<string>;
  fetch(
    name: string,
    remote: RemoteBranch,
    folder: string | undefined,
    signal: AbortSignal,
  ): Promise<{
    readonly commit: string;
    /** ms since the epoch */
    readonly committedAt: number;
    readonly archive: Readable;
  }>;
  remove(name: string): void;
}

export interface GitRequest {
  readonly environment: string;
  readonly app: string;
  /** `info/refs`, `git-receive-pack`, `git-upload-pack` */
  readonly path: string;
  readonly method: "GET" | "POST";
  readonly query: string;
  readonly contentType: string | undefined;
  readonly contentEncoding: string | undefined;
  /** What the client says it speaks: `version=2`. */
  readonly protocol: string | undefined;
  readonly body: Readable | undefined;
  readonly actor: string;
  readonly from: string;
  readonly token: Redacted;
  readonly signal: AbortSignal;
}

/** Repositories that are pushed to here. */
export interface GitServer {
  has(environment: string, app: string): boolean;
  ensure(environment: string, app: string): Promise<void>;
  serve(request: GitRequest): Promise<{
    readonly status: number;
    readonly headers: Readonly<Record<string, string>>;
    readonly body: Readable;
  }>;
}

export interface Tokens {
  /** Makes the token of that id; shown once. */
  issue(id: string): Redacted;
  remove(id: string): void;
  lastUsedAt(id: string): number | undefined;
}

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

export interface ApiDeps {
  readonly clock: Clock;
  readonly store: ResourceStore;
  readonly sources: SourceUploads;
  /** Gives a task that runs what it reads. */
  readonly feedTask: (task: Task, input: AsyncIterable<Uint8Array>) => Promise<void>;
  readonly secrets: SecretValues;
  /** A figure of an app, of one of its releases. */
  readonly readMetric: (metric: AppMetric, scope: MetricScope) => Promise<MetricValue>;
  /** What these files (SQL) would break for a release that does not know them. */
  readonly checkMigrations: (
    appName: string,
    files: readonly { readonly name: string; readonly text: string }[],
  ) => Promise<readonly MigrationFinding[]>;
  readonly telemetry: TelemetryReader;
  readonly monitoring: MonitoringReader;
  /** Whether a request to deliver alerts comes from our Alertmanager. */
  /** Whom alerts woke already. */
  readonly toldMemory: ToldMemory;
  readonly mayDeliver: (authorization: string | undefined) => boolean;
  readonly channelSecrets: ChannelSecrets;
  readonly exportSecrets: ExportSecrets;
  readonly repositorySecrets: RepositorySecrets;
  readonly repositories: RemoteRepositories;
  readonly refusedDeliveries: Map<string, RefusedDeliveries>;
  readonly git: GitServer;
  /** Tells a provider of a commit, once; returns its id of the deployment. @throws forge.failed */
  readonly tellForge: (target: ForgeTarget, news: CommitNews) => Promise<string | undefined>;
  /** Tells a channel, once. @throws channel.failed */
  /** What a runbook says to do first, and where it can be opened. */
  readonly runbook: (
    path: string,
    labels: Readonly<Record<string, string>>,
  ) => Pick<AlertNotice, "firstStep" | "runbookUrl">;
  readonly notify: (delivery: Delivery) => Promise<void>;
  /** A short digest of a text, for ids that stay the same. */
  readonly digest: (text: string) => string;
  /** Objectives of what serves now. */
  readonly objectives: () => readonly Objective[];
  readonly audit: Audit;
  readonly journalOf: (ref: Ref, limit: number, afterId?: number) => readonly JournalEntry[];
  /** The id of a bearer token that is known, or undefined. */
  readonly findToken: (token: string) => string | undefined;
  /** Told of who comes with one that is not. */
  readonly unknownTokens: { tried(from: string): void };
  readonly tokens: Tokens;
  readonly authorizer: Authorizer;
  readonly publicUrl: (host: string) => string;
  /** Host at which the edge shows this API to the world. */
  readonly apiHost: string | undefined;
  /** Facts of this installation for `status`. */
  readonly installation: () => Readonly<Record<string, unknown>>;
  readonly newId: () => string;
}
