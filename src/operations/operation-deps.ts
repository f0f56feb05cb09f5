// What the operations, and the API before them, need from the rest of the control plane.

import type { Audit } from "../kernel/audit.ts";
import type { Clock } from "../kernel/clock.ts";
import type { Ref } from "../kernel/resource.ts";
import type { JournalEntry, ResourceStore } from "../kernel/resource-store.ts";
import type { SealedValues } from "../kernel/sealed-values.ts";
import type { Authorizer } from "../resources/account/permissions.ts";
import type { MetricScope, MetricValue } from "../resources/app/app-driver.ts";
import type { Objective } from "../resources/app/objectives.ts";
import type { AppMetric } from "../resources/app/rollout-policy.ts";
import type { AlertNotice } from "../resources/channel/channel.ts";
import type { Notify } from "../resources/channel/channel-driver.ts";
import type { CommitNews, ForgeTarget } from "../resources/push/push-driver.ts";
import type { MigrationFinding, SourceUploads } from "../resources/release/release-driver.ts";
import type {
  GitServer,
  RefusedDeliveries,
  RemoteRepositories,
} from "../resources/repository/repository-driver.ts";
import type { SecretValues } from "../resources/secret/secret-driver.ts";
import type { Task } from "../resources/task/task.ts";
import type { MonitoringReader, TelemetryReader } from "../resources/telemetry/telemetry-driver.ts";
import type { Tokens } from "../resources/token/token-driver.ts";
import type { ToldMemory } from "./told-groups.ts";

export interface SourceDifference {
  readonly files: number;
  readonly dependencies: readonly string[];
  readonly migrations: readonly string[];
}

export interface OperationDeps {
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
  /** Whom alerts woke already. */
  readonly toldMemory: ToldMemory;
  /** Whether a request to deliver alerts comes from our Alertmanager. */
  readonly mayDeliver: (authorization: string | undefined) => boolean;
  readonly sealed: SealedValues;
  readonly repositories: RemoteRepositories;
  readonly refusedDeliveries: Map<string, RefusedDeliveries>;
  readonly git: GitServer;
  /** Tells a provider of a commit, once; returns its id of the deployment. @throws forge.failed */
  readonly tellForge: (target: ForgeTarget, news: CommitNews) => Promise<string | undefined>;
  /** What a runbook says to do first, and where it can be opened. */
  readonly runbook: (
    path: string,
    labels: Readonly<Record<string, string>>,
  ) => Pick<AlertNotice, "firstStep" | "runbookUrl">;
  readonly notify: Notify;
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
