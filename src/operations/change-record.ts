// A change as it is written down when it is asked for: what it would do, how risky that is, what is
// to happen, what success is, and how it is undone.

import type { ChangeSpec } from "../resources/change/change.ts";
import type { ReleaseSpec } from "../resources/release/release.ts";
import type { MigrationFinding } from "../resources/release/release-driver.ts";
import type { Principal } from "./access.ts";
import { type BudgetLeft, differencesOf, type riskOf } from "./change-risk.ts";
import type { ChangeRequest, Rehearsal } from "./change-runner.ts";
import type { EnvironmentView } from "./environment-view.ts";
import type { SourceDifference } from "./operation-deps.ts";

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;

export interface ChangeOptions {
  readonly reason?: string | undefined;
  readonly emergency?: boolean | undefined;
  /** Although the error budget is spent; needs a reason. */
  readonly overrideBudget?: boolean | undefined;
  /** Whose work it is, beside who asks: they can't approve it either. */
  readonly authors?: readonly string[] | undefined;
  /** Although it takes something from the schema that what still runs, or ran, needs. */
  readonly acceptContract?: boolean | undefined;
}

export interface ChangeFacts {
  readonly migrations: readonly MigrationFinding[];
  readonly before: ReleaseSpec | undefined;
  readonly source: SourceDifference | undefined;
  readonly budgets: readonly BudgetLeft[];
  readonly risk: ReturnType<typeof riskOf>;
  /** Of a train: each of its apps. */
  readonly cars?: readonly CarFacts[];
}

export interface CarFacts {
  readonly app: string;
  readonly rehearsal: Rehearsal;
  readonly before: ReleaseSpec | undefined;
  readonly source: SourceDifference | undefined;
}

export interface Asked {
  readonly place: EnvironmentView;
  readonly request: ChangeRequest;
  readonly rehearsal: Rehearsal;
  readonly actor: Principal;
  readonly options: ChangeOptions;
  /** They may run it themselves, not only ask. */
  readonly may: boolean;
  /** Nobody but them could approve it. */
  readonly nobodyElse: boolean;
  readonly now: number;
}

/** Its number is given when it is written. */
export function recordOf(asked: Asked, facts: ChangeFacts): ChangeSpec {
  const { place, request, rehearsal, actor, options, now } = asked;
  const { rules, name: environment } = place;
  const { action } = request;
  const { app, release } = rehearsal.accepted;
  const waived = waivedFor(asked);
  return {
    number: 0,
    environment,
    app,
    action,
    request: request as unknown as Record<string, unknown>,
    summary:
      "train" in request
        ? `a train of ${request.train.cars.map((car) => car.app).join(", ")} from ${request.train.from}`
        : summaryOf(action, app, release, rehearsal),
    reason: options.reason ?? "",
    digest: rehearsal.digest,
    askedBy: actor.name,
    askedFrom: actor.from,
    askedAt: now,
    ...(options.authors && { authors: options.authors }),
    diff: [
      ...(facts.cars
        ? facts.cars.flatMap((car) =>
            differencesOf(car, car.before, car.source).map((one) => ({
              ...one,
              what: `${car.app}: ${one.what}`,
            })),
          )
        : differencesOf({ rehearsal }, facts.before, facts.source)),
      ...(options.acceptContract
        ? [{ what: "accepted", after: "what its migrations take away" }]
        : []),
      ...facts.migrations.map(({ file, line, kind, text }) => ({
        what: `migration ${kind}`,
        after: `${file}:${line} ${text}`,
      })),
    ],
    risk: facts.risk,
    ...(facts.cars ? trainPlanOf(facts.cars) : planOf(rehearsal, facts.before, takesAway(facts))),
    // Who may only ask never runs it alone.
    needs: waived !== undefined ? 0 : Math.max(rules.approvals, asked.may ? 0 : 1),
    ...(waived !== undefined && { waived }),
    approvals: [],
    expiresAt: now + rules.changeDays * DAY_MS,
    ...(options.emergency && {
      emergency: { by: actor.name, reason: options.reason ?? "" },
      reviewBy: now + rules.reviewHours * HOUR_MS,
    }),
  };
}

function waivedFor({ place, request, may, nobodyElse }: Asked): string | undefined {
  const { standardChanges, approvals, approvalsWhenAlone } = place.rules;
  if (!may || approvals === 0) return undefined;
  if (standardChanges.includes(request.action))
    return "a standard change, approved beforehand by policy";
  return nobodyElse && approvalsWhenAlone === "waive" ? "nobody else could approve it" : undefined;
}

/** What was meant when it was asked for, also where something else is the default by then. */
export function pinned(request: ChangeRequest, { accepted, release }: Rehearsal): ChangeRequest {
  if (request.action === "rollback") return { ...request, to: accepted.release };
  if (request.action === "promote" && !("train" in request) && release?.promotedFrom)
    return { ...request, release: release.promotedFrom.release };
  return request;
}

function summaryOf(
  action: ChangeRequest["action"],
  app: string,
  number: number,
  { release }: Rehearsal,
): string {
  const changed = release?.source.uncommitted ? " with uncommitted changes" : "";
  const commit = release?.source.commit
    ? ` (commit ${release.source.commit.slice(0, 10)}${changed})`
    : "";
  switch (action) {
    case "deploy":
      return `deploy ${app}${commit}`;
    case "promote":
      return `promote ${app} from ${release?.promotedFrom?.environment} release ${release?.promotedFrom?.release}${commit}`;
    case "rollback":
      return `roll ${app} back to release ${number}`;
    default:
      return `${action} ${app}`;
  }
}

const takesAway = ({ migrations }: ChangeFacts): boolean =>
  migrations.some(({ kind }) => kind === "contract");

function trainPlanOf(cars: readonly CarFacts[]): Pick<ChangeSpec, "plan" | "success" | "rollback"> {
  const plans = cars.map(({ app, rehearsal, before }) => ({
    app,
    ...planOf(rehearsal, before, false),
  }));
  const of = (key: "plan" | "success"): string[] =>
    plans.flatMap((one) => one[key].map((text) => `${one.app}: ${text}`));
  const back = cars.map(({ app, before }) =>
    before ? `${app} to release ${before.number}` : `${app} stays: nothing served before it`,
  );
  return {
    plan: of("plan"),
    success: of("success"),
    rollback: `by itself where a later one fails, the last first: ${back.join(", ")}`,
  };
}

function planOf(
  { release, appBefore, action }: Rehearsal,
  before: ReleaseSpec | undefined,
  isContracted: boolean,
): Pick<ChangeSpec, "plan" | "success" | "rollback"> {
  const policy = release?.manifest.rollout;
  const steps = policy?.steps?.map(({ share }) => `${share / 10} %`).join(", ");
  const isNew = action !== "restart" && action !== "scale" && action !== "destroy";
  const command = isNew && release?.manifest.release?.command;
  return {
    plan: [
      ...(command ? [`release command: ${command}`] : []),
      ...(isNew && policy
        ? [`${policy.strategy}${policy.strategy === "canary" && steps ? `: ${steps}` : ""}`]
        : []),
      ...(policy && policy.smoke.length > 0 && isNew
        ? [`${policy.smoke.length} smoke checks`]
        : []),
      ...(isNew && policy ? [`watched for ${policy.watch / 1_000} s`] : []),
      ...(action === "destroy" ? ["all instances end; the edge forgets the app"] : []),
    ],
    success:
      isNew && policy
        ? [
            "all instances become healthy",
            ...(policy.strategy === "canary"
              ? [
                  `errors at most ${policy.analysis.errors.absolute} points and ${policy.analysis.errors.relative} times above what serves`,
                  `answers slower than p50 to p99.9, plus ${policy.analysis.latency.absolute} ms and times ${policy.analysis.latency.relative}, not more frequent`,
                  `4xx, redirects and small answers at most ${policy.analysis.answers.absolute} points and ${policy.analysis.answers.relative} times above`,
                ]
              : []),
            "no crash loop and no burning error budget while it is watched",
          ]
        : ["all instances become healthy"],
    rollback:
      action === "destroy"
        ? "none: deploy it again; data stays unless it was to be deleted"
        : before && appBefore && isContracted
          ? `none that is whole: release ${before.number} would run on a schema that it does not know, and its data does not come back by itself`
          : before && appBefore
            ? `holdfast rollback ${before.app.split("/")[1]} --to ${before.number}, by itself while it is watched`
            : "none: nothing served before",
  };
}
