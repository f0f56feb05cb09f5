// A push to a connected repository, on its way to being deployed: fetched, handed to change control
// like any deploy, followed to its end, and told back to where it came from. Named after its
// repository and its number there.

import { z } from "zod";
import type { WithPass } from "../../kernel/controller.ts";
import { defineKind, type SpecOf } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";

const pushSpec = z.strictObject({
  repository: z.string(),
  number: z.number().int(),
  environment: z.string(),
  commit: z.string(),
  ref: z.string().describe("Such as refs/heads/main."),
  message: z.string(),
  pusher: z.string().describe("Who pushed, as the provider names them."),
  authors: z.array(z.string()).describe("By which other names they are known there."),
  delivery: z.string().describe("The provider's id of the delivery: it does not come twice."),
  bodyDigest: z.string().describe("Of what the delivery said: it does not come twice."),
  receivedAt: z.number().describe("ms since the epoch."),
  from: z.string().describe("Address that it came from."),
});

export type PushSpec = SpecOf<typeof pushSpec>;

export const PUSH = defineKind<PushSpec, PushStatus>({
  name: "push",
  summary: "A push to a connected repository.",
  scope: "installation",
  environmentOf: (_name, { environment }) => environment,
  spec: pushSpec,
});

export type PushPhase =
  | "fetching"
  /** Handed to change control, and not begun: approvals, windows. */
  | "waiting"
  | "deploying"
  | "succeeded"
  | "failed"
  /** Its commit was taken back before. */
  | "held"
  | "refused"
  /** Something newer took its place. */
  | "superseded";

export type CommitState = "pending" | "success" | "failure" | "canceled";

export interface PushReport {
  /** What the provider was told last. */
  readonly told?: CommitState;
  /** Its id of the deployment. */
  readonly deployment?: string;
  /** Attempts at the state that is told now. */
  readonly attempts: number;
  readonly nextAt: number;
  readonly problem?: string;
}

export interface PushStatusFields {
  readonly phase: PushPhase;
  readonly since: number;
  readonly text: string;
  readonly source?: {
    readonly digest: string;
    readonly bytes: number;
    readonly committedAt?: number;
  };
  readonly attempts: number;
  readonly nextAt: number;
  /** What change control made of it. */
  readonly accepted?: {
    readonly app: string;
    readonly release: number;
    readonly generation: number;
    readonly change?: number;
    readonly changed: boolean;
    readonly url?: string;
  };
  readonly report: PushReport;
}

export type PushStatus = WithPass<PushStatusFields>;
export type Push = Resource<PushSpec, PushStatus>;

export const pushName = (repository: string, number: number): string =>
  `${repository}/${String(number).padStart(6, "0")}`;

export const PUSH_ENDED: ReadonlySet<PushPhase> = new Set([
  "succeeded",
  "failed",
  "held",
  "refused",
  "superseded",
]);

export const NEW_PUSH: Omit<PushStatusFields, "since"> = {
  phase: "fetching",
  text: "is fetched",
  attempts: 0,
  nextAt: 0,
  report: { attempts: 0, nextAt: 0 },
};

const STATES: Readonly<Record<PushPhase, CommitState>> = {
  fetching: "pending",
  waiting: "pending",
  deploying: "pending",
  succeeded: "success",
  failed: "failure",
  held: "failure",
  refused: "failure",
  superseded: "canceled",
};

/** What the provider is told of a phase. */
export const stateOf = (phase: PushPhase): CommitState => STATES[phase];

/** In another phase; what is to be told anew has all its attempts. */
export function moved(
  status: PushStatusFields,
  phase: PushPhase,
  text: string,
  now: number,
): PushStatusFields {
  const since = status.phase === phase ? status.since : now;
  const isNew = stateOf(phase) !== stateOf(status.phase);
  const report = isNew ? { ...status.report, attempts: 0, nextAt: 0 } : status.report;
  return { ...status, phase, text, since, report };
}
