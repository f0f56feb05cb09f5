// An app is what a person deploys. Its spec says which release shall carry all traffic, how many
// instances each component shall have by hand, and how often a release was asked to restart;
// deploy, rollback, restart, config change and scale all are writes of this one spec.
//
// Its instances live in two slots per service. What serves is in one; the next release starts in
// the other, and traffic moves between slots at the edge.

import type { WithPass } from "../../kernel/controller.ts";
import type { Resource } from "../../kernel/resource.ts";

export const APP = "app";

export interface AppSpec {
  readonly environment: string;
  /** Number of the release that shall carry all traffic; 0 before the first deploy. */
  readonly release: number;
  /** Release number → how often fresh instances of it were asked for. */
  readonly restarts: Readonly<Record<string, number>>;
  /** Component → instances, over what the manifest says. */
  readonly scale: Readonly<Record<string, number>>;
  /** What the last write was for, as the timeline names it. */
  readonly reason: RolloutReason;
  /** Where its source comes from; another project must not take its name by accident. */
  readonly origin?: string | undefined;
  /** Asked for together with the deletion: drop the app's data too. */
  readonly deleteData?: boolean;
}

export type RolloutReason = "deploy" | "rollback" | "restart" | "config" | "scale";
export type Slot = "a" | "b";

/** The instances of one release between two restarts: they are started and retired together. */
export interface InstanceSet {
  readonly release: number;
  readonly restarts: number;
}

export interface Placement {
  readonly set: InstanceSet;
  readonly slot: Slot;
  /** Component → instances. */
  readonly counts: Readonly<Record<string, number>>;
}

export type RolloutPhase = "building" | "stores" | "release-command" | "starting" | "shifting";

export interface TimelineEntry {
  readonly at: number;
  readonly text: string;
}

export interface RolloutFailure {
  readonly reason: string;
  readonly hint: string;
  /** The last lines of the output that matters, oldest first. */
  readonly log: readonly string[];
}

export interface Rollout {
  /** The generation of the spec that asked for it. */
  readonly generation: number;
  readonly reason: RolloutReason;
  readonly placement: Placement;
  readonly phase: RolloutPhase;
  readonly phaseSince: number;
  readonly startedAt: number;
  readonly endedAt?: number;
  readonly outcome?: "succeeded" | "failed";
  readonly failure?: RolloutFailure;
  readonly timeline: readonly TimelineEntry[];
}

export interface InstanceView {
  readonly name: string;
  readonly component: string;
  readonly role: "service" | "worker" | "task";
  readonly release: number;
  readonly state:
    | "starting"
    | "ready"
    | "unhealthy"
    | "crashed"
    | "crash-loop"
    | "draining"
    | "warm"
    | "stopping"
    | "finished";
  readonly restarts: number;
  readonly startedAt: number;
  readonly detail?: string;
}

export interface AppStatusFields {
  /** What carries all traffic. */
  readonly serving?: Placement & { readonly since: number };
  /** The previous set, kept running for an instant rollback. */
  readonly warm?: Placement & { readonly until: number };
  readonly rollout?: Rollout;
  /** Ended rollouts, newest first. */
  readonly history: readonly Rollout[];
  /** Every generation up to this one has been dealt with. */
  readonly settledGeneration: number;
  /** Releases whose release command has run to its end, newest last. */
  readonly released: readonly number[];
  /** Instance → since when nothing wants it any more. */
  readonly retiredSince: Readonly<Record<string, number>>;
  readonly instances: readonly InstanceView[];
  /** Job → the due time up to which its runs were started or skipped. */
  readonly jobs: Readonly<Record<string, JobState>>;
}

export interface JobState {
  readonly consideredUntil: number;
  readonly lastRun?: {
    readonly at: number;
    readonly outcome: "running" | "succeeded" | "failed" | "skipped";
    readonly detail?: string;
  };
}

export type AppStatus = WithPass<AppStatusFields>;
export type App = Resource<AppSpec, AppStatus>;

export const HISTORY_MAX = 20;
export const RELEASED_MAX = 100;
export const TIMELINE_MAX = 60;

export const EMPTY_STATUS: AppStatusFields = {
  history: [],
  settledGeneration: 0,
  released: [],
  retiredSince: {},
  instances: [],
  jobs: {},
};

export const appResourceName = (environment: string, app: string): string =>
  `${environment}/${app}`;

export const isSameSet = (a: InstanceSet | undefined, b: InstanceSet | undefined): boolean =>
  a?.release === b?.release && a?.restarts === b?.restarts;

export const setLabel = ({ release, restarts }: InstanceSet): string =>
  restarts === 0 ? `r${release}` : `r${release}-${restarts}`;

/** `production.storefront.web.r12.1`: the same instance has the same name after any crash. */
export function instanceName(
  appName: string,
  component: string,
  set: InstanceSet,
  index: number | string,
): string {
  return `${appName.replace("/", ".")}.${component}.${setLabel(set)}.${index}`;
}

export const otherSlot = (slot: Slot): Slot => (slot === "a" ? "b" : "a");
