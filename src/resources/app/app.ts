// An app is what a person deploys. Its spec says which release shall carry all traffic, how many
// instances each component shall have by hand, and how often a release was asked to restart;
// deploy, rollback, restart, config change and scale all are writes of this one spec.
//
// Its instances live in two slots per service. What serves is in one; the next release starts in
// the other, and traffic moves between slots at the edge.

import { z } from "zod";
import type { WithPass } from "../../kernel/controller.ts";
import { defineKind, type SpecOf } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";
import { MONITORING_KINDS } from "../engine/engine.ts";
import type { Judgement, Trends } from "./judgement/judgement.ts";
import type { Tally } from "./judgement/sequential-test.ts";
import type { TestState } from "./judgement/test-state.ts";
import type { Strategy } from "./rollout-policy.ts";

const appSpec = z.strictObject({
  environment: z.string(),
  release: z
    .number()
    .int()
    .describe("Number of the release that shall carry all traffic; 0 before the first deploy."),
  restarts: z
    .record(z.string(), z.number().int())
    .describe("Release number → how often fresh instances of it were asked for."),
  scale: z
    .record(z.string(), z.number().int())
    .describe("Component → instances, over what the manifest says."),
  reason: z
    .enum(["deploy", "promote", "rollback", "restart", "config", "scale"])
    .describe("What the last write was for, as the timeline names it."),
  origin: z
    .string()
    .optional()
    .describe("Where its source comes from; another project must not take its name by accident."),
  holdsNothing: z
    .boolean()
    .exactOptional()
    .describe(
      "A rollback that says nothing against what it goes back from: another app of its train failed.",
    ),
  deleteData: z
    .boolean()
    .exactOptional()
    .describe("Asked for together with the deletion: drop the app's data too."),
});

export type AppSpec = SpecOf<typeof appSpec>;

export const APP = defineKind<AppSpec, AppStatus>({
  name: "app",
  summary: "An app: its target release and instance counts.",
  scope: "environment",
  spec: appSpec,
  // What watches is told of what there is to watch, and whom to tell.
  wakes: MONITORING_KINDS.map((kind) => ({ kind })),
});

export type RolloutReason = AppSpec["reason"];
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

export type RolloutPhase =
  | "building"
  | "stores"
  /** The release command runs on a copy of the schema. */
  | "rehearsal"
  | "release-command"
  /** What serves ends first: one-writer apps. */
  | "stopping"
  | "starting"
  | "smoke"
  | "preview"
  /** Share by share, judged at each. */
  | "stepping"
  /** Its stages are behind it: what is still missing of it starts. */
  | "completing"
  | "shifting"
  /** It failed: what served grows again where it made room, then all requests leave the candidate. */
  | "returning";

/** A part of a rollout: what both releases have for a time. */
export interface Stage {
  /** Of 1,000 requests, those that the candidate gets. */
  readonly perMille: number;
  readonly forMs: number;
  /** Component → instances. */
  readonly candidate: Readonly<Record<string, number>>;
  readonly serving: Readonly<Record<string, number>>;
}

export type Verdict = "pass" | "fail" | "inconclusive";

export interface StageResult {
  readonly perMille: number;
  readonly since: number;
  readonly until: number;
  readonly verdict: Verdict;
  readonly reason: string;
  readonly arms: Judgement["arms"];
}

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
  /** When somebody looked last, to some seconds. */
  readonly lookedAt?: number;
  readonly startedAt: number;
  readonly endedAt?: number;
  /** aborted: somebody said so. rolled-back: it carried all traffic, and was taken back by itself. */
  readonly outcome?: "succeeded" | "failed" | "aborted" | "rolled-back";
  readonly failure?: RolloutFailure;
  readonly timeline: readonly TimelineEntry[];
  readonly strategy: Strategy;
  readonly stages: readonly Stage[];
  /** Release that it is compared with. */
  readonly from?: number;
  /** Index of the stage under way. */
  readonly stage?: number;
  /** Of 1,000 requests, those that the candidate is to get now. */
  readonly perMille?: number;
  /** Since when the edge gives the candidate this stage's share. */
  readonly stageSince?: number;
  /** Since when users get the candidate. */
  readonly exposedAt?: number;
  /** Too little was seen: the stage's time was doubled, or a person was asked. */
  readonly inconclusive?: "extended" | "asked";
  readonly judgement?: Judgement;
  /** How quick answers were up to the end of the stage before. */
  readonly trends?: Trends;
  /** Figures of the app's own, by name. */
  readonly metrics?: Readonly<Record<string, MetricState>>;
  readonly vitals?: Vitals;
  readonly results: readonly StageResult[];
  /** How it ends once what served has all requests again. */
  readonly returning?: {
    readonly failure: RolloutFailure;
    readonly outcome: "failed" | "aborted";
  };
  /** What its release command took away when it ran on a copy; with why nobody could see. */
  readonly rehearsal?: { readonly taken: readonly string[]; readonly problem?: string };
  readonly passedSmoke?: boolean;
  readonly passedPreview?: boolean;
  /** Began by itself, for this reason. */
  readonly automatic?: string;
}

/** What a rollout left behind for the figures of delivery. */
export interface DeliveryRecord {
  readonly generation: number;
  readonly release: number;
  readonly reason: Rollout["reason"];
  readonly startedAt: number;
  readonly endedAt: number;
  readonly outcome: NonNullable<Rollout["outcome"]>;
  /** When its commit was made, where that is known; otherwise when it was asked for. */
  readonly leadFrom: number;
  /** When the first user got it, where that was before all did. */
  readonly exposedAt?: number;
  /** Users got it, at least for a time. */
  readonly exposed: boolean;
}

/** What users got and was then taken from them; see held-source.ts. */
export interface HeldSource {
  readonly digest: string;
  readonly commit?: string;
  /** The release that it was last. */
  readonly release: number;
  readonly at: number;
  readonly why: string;
}

/** How the candidate's instances were when they were last looked at. */
export interface Vitals {
  readonly at: number;
  /** Instance → CPU time it had used then. */
  readonly cpuSeconds: Readonly<Record<string, number>>;
  /** Looks in a row at which one of them was at its limit. */
  readonly memoryLooks: number;
  readonly cpuLooks: number;
  /** Since when one of them fails its health check. */
  readonly unwellSince?: number;
}

export interface MetricState {
  /** When it was last looked at. */
  readonly at: number;
  readonly candidate: number | null;
  readonly serving: number | null;
  /** Looks in a row beyond a limit. */
  readonly strikes: number;
  readonly text: string;
  /** Of one that is told as bad of total: the stage that is counted, and up to when. */
  readonly since?: number;
  readonly through?: number;
  readonly totals?: { readonly candidate: Tally; readonly serving: Tally };
  /** What is not tested yet, because one of the two has seen nothing since. */
  readonly waiting?: { readonly candidate: Tally; readonly serving: Tally };
}

/** The time after a release got everything, in which it is taken back by itself. */
export interface Watch {
  readonly generation: number;
  readonly placement: Placement;
  readonly previous: Placement;
  /** When its first request came to it; a watch of an earlier build does not say. */
  readonly exposedAt?: number;
  readonly since: number;
  readonly until: number;
  /** Requests that ended up to then are counted. */
  readonly through: number;
  /** `availability web` → evidence that its error budget burns. */
  readonly burn: Readonly<Record<string, TestState>>;
  readonly seen: Readonly<Record<string, Tally>>;
  /** Of those, the slow ones that were counted before they ended. */
  readonly ahead?: Readonly<Record<string, number>>;
  /** The same of the release before, in the minutes before this one had any request. */
  readonly before?: Readonly<Record<string, Tally>>;
  /** How many times more the outcomes of the release before varied than independent ones. */
  readonly design?: Readonly<Record<string, number>>;
  /** The platform holds the release up: nothing is counted. */
  readonly isHeldUp?: boolean;
  /** How often it did since the watch began. */
  readonly heldUp?: number;
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
  /** When the kernel last ended it for its memory, with the limit. */
  readonly memoryKill?: { readonly at: number; readonly detail: string };
}

export interface AppStatusFields {
  /** What carries all traffic. */
  readonly serving?: Placement & { readonly since: number };
  /** The previous set, kept running for an instant rollback. */
  readonly warm?: Placement & { readonly until: number };
  readonly rollout?: Rollout;
  readonly watch?: Watch;
  /** Ended rollouts, newest first. */
  readonly history: readonly Rollout[];
  /** What more of them left behind, for the figures of delivery. */
  readonly deliveries?: readonly DeliveryRecord[];
  /** Source that was taken back: it does not come again by itself. */
  readonly held?: readonly HeldSource[];
  /** Every generation up to this one has been dealt with. */
  readonly settledGeneration: number;
  /** Releases whose release command has run to its end, newest last. */
  readonly released: readonly number[];
  /** Release → what it took from the schema, as its rehearsal showed. */
  readonly taken?: Readonly<Record<string, readonly string[]>>;
  /** A copy of the schema may be there. */
  readonly copied?: boolean;
  /** Instance → since when nothing wants it any more. */
  readonly retiredSince: Readonly<Record<string, number>>;
  readonly instances: readonly InstanceView[];
  /** Job → the due time up to which its runs were started or skipped. */
  readonly jobs: Readonly<Record<string, JobState>>;
}

export interface JobState {
  readonly consideredUntil: number;
  /** How the last run that came to an end did. */
  readonly lastEnded?: "succeeded" | "failed";
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
