// A change of what decides who may change what, as it is written down when it is asked for.

import type { ChangeSpec } from "../resources/change/change.ts";
import type { EnvironmentRules } from "../resources/environment/environment-rules.ts";
import type { Principal } from "./access.ts";
import type { ChangeOptions } from "./change-record.ts";
import { effectOf } from "./control-effect.ts";
import type { ControlRequest, Loosening } from "./control-writes.ts";

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
const SHOWN_CHARS = 80;

export interface ControlAsked {
  readonly request: ControlRequest;
  /** Of a resource that is applied: its spec. */
  readonly before: unknown;
  readonly loosening: Loosening;
  /** One environment, or `*`. */
  readonly place: string;
  readonly rules: EnvironmentRules;
  readonly digest: string;
  readonly actor: Principal;
  readonly options: ChangeOptions;
  readonly now: number;
  /** Why nobody else has to approve it. */
  readonly waived?: string | undefined;
}

/** Its number is given when it is written. */
export function controlRecordOf(asked: ControlAsked): ChangeSpec {
  const { request, place, rules, digest, actor, options, now, waived } = asked;
  return {
    number: 0,
    environment: place,
    app: request.action === "run" ? request.app : "",
    action: request.action,
    request: request as unknown as Record<string, unknown>,
    summary: summaryOf(request),
    reason: options.reason ?? "",
    digest,
    askedBy: actor.name,
    askedFrom: actor.from,
    askedAt: now,
    ...effectOf(asked),
    // It takes somebody else, also where the environment asks for nobody.
    needs: waived === undefined ? Math.max(1, rules.approvals) : 0,
    ...(waived !== undefined && { waived }),
    approvals: [],
    expiresAt: now + rules.changeDays * DAY_MS,
    ...(options.emergency && {
      emergency: { by: actor.name, reason: options.reason ?? "" },
      reviewBy: now + rules.reviewHours * HOUR_MS,
    }),
  };
}

function summaryOf(request: ControlRequest): string {
  switch (request.action) {
    case "apply":
      return `${request.spec === null ? "remove" : "set"} ${request.kind} ${request.name}`;
    case "policy":
      return `policy of ${request.environment}`;
    case "environment":
      return `class of ${request.environment}`;
    case "freeze":
      return request.spec === null ? `remove ${request.window}` : `change ${request.window}`;
    case "account":
      return `roles of ${request.account}`;
    case "run":
      return `run ${request.command.slice(0, SHOWN_CHARS)} in ${request.app}`;
  }
}
