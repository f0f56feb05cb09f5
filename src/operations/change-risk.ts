// How risky a change is, 0 to 100, and of what that is made: size, migrations, dependencies, how
// lately something failed, what is left of the error budget. Points are a judgement, not a
// probability; what they are for is to tell the changes apart that deserve a second look.

import type { App } from "../resources/app/app.ts";
import type { FieldDifference, RiskPart } from "../resources/change/change.ts";
import type { ReleaseSpec } from "../resources/release/release.ts";
import type { MigrationFinding } from "../resources/release/release-driver.ts";
import type { Rehearsal } from "./change-runner.ts";
import type { SourceDifference } from "./operation-deps.ts";

const DAY_MS = 86_400_000;
const BASE: Readonly<Record<Rehearsal["action"], number>> = {
  deploy: 10,
  promote: 5,
  rollback: 5,
  restart: 2,
  scale: 5,
  config: 10,
  secret: 10,
  destroy: 60,
  policy: 40,
  environment: 40,
  freeze: 30,
  account: 40,
  run: 40,
  apply: 20,
};

export interface BudgetLeft {
  readonly service: string;
  /** Share of the error budget that is left; below 0: more than all is spent. */
  readonly left: number;
  /** Releases and their shares of what failed, the largest first. */
  readonly spentBy?: readonly { readonly release: number; readonly share: number }[];
  /** The release that spent it, and that this change is to repair. */
  readonly repairs?: number;
}

export interface RiskFacts {
  readonly rehearsal: Rehearsal;
  readonly app: App | undefined;
  readonly source: SourceDifference | undefined;
  readonly migrations: readonly MigrationFinding[];
  readonly budgets: readonly BudgetLeft[];
  readonly now: number;
}

export function riskOf(facts: RiskFacts): { score: number; parts: RiskPart[] } {
  const { rehearsal, app, source, migrations, budgets, now } = facts;
  const parts: RiskPart[] = [{ points: BASE[rehearsal.action], why: `a ${rehearsal.action}` }];
  const add = (points: number, why: string): void => {
    if (points > 0) parts.push({ points, why });
  };
  if (source) {
    add(Math.min(20, Math.round(source.files / 2)), `${source.files} files differ`);
    if (source.dependencies.length > 0)
      add(15, `dependencies change: ${listOf(source.dependencies)}`);
    if (source.migrations.length > 0) add(20, `migrations: ${listOf(source.migrations)}`);
  }
  const contracts = migrations.filter(({ kind }) => kind === "contract").length;
  add(Math.min(30, contracts * 15), `${contracts} of its migrations break the running release`);
  const dark = migrations.filter(({ kind }) => kind === "unread").length;
  add(Math.min(30, dark * 10), `${dark} of its migrations cannot be read`);
  if (migrations.some(({ kind }) => kind === "start"))
    add(10, "its migrations run as it starts: nothing can hold them back");
  if (!app) add(10, "the app is new here");
  const failed = app?.status?.history.find(({ outcome }) => outcome !== "succeeded");
  if (failed?.endedAt !== undefined && now - failed.endedAt < DAY_MS)
    add(15, `a change failed ${Math.round((now - failed.endedAt) / 3_600_000)} h ago`);
  // What it repairs comes last.
  const tightest = budgets.toSorted(
    (one, other) =>
      Number(one.repairs !== undefined) - Number(other.repairs !== undefined) ||
      one.left - other.left,
  )[0];
  if (tightest?.repairs !== undefined)
    add(10, `it is to repair release ${tightest.repairs}, which spent the error budget`);
  else if (tightest && tightest.left <= 0)
    add(30, `the error budget of ${tightest.service} is spent`);
  else if (tightest && tightest.left < 0.25)
    add(
      15,
      `${Math.round(tightest.left * 100)} % of the error budget of ${tightest.service} is left`,
    );
  const isNewCode = rehearsal.action === "deploy" || rehearsal.action === "promote";
  const strategy = rehearsal.release?.manifest.rollout?.strategy;
  if (isNewCode && app && strategy !== "canary") add(10, `it comes all at once, not by canary`);
  return {
    score: Math.min(
      100,
      parts.reduce((sum, { points }) => sum + points, 0),
    ),
    parts,
  };
}

/** What it would change, field by field; never a secret's value. */
export function differencesOf(
  { rehearsal }: Pick<RiskFacts, "rehearsal">,
  before: ReleaseSpec | undefined,
  source: SourceDifference | undefined,
): FieldDifference[] {
  const { release, appBefore, appAfter, action } = rehearsal;
  if (action === "destroy") return [{ what: "app", before: "there", after: "destroyed" }];
  const pairs: [string, unknown, unknown][] = [
    [
      "release",
      appBefore?.release || undefined,
      action === "restart" || action === "scale" ? appBefore?.release : appAfter?.release,
    ],
    ["commit", before?.source.commit, release?.source.commit],
    ["source", before?.source.digest.slice(0, 12), release?.source.digest.slice(0, 12)],
    ...fields("setting", before?.config.values, release?.config.values),
    ...fields("secret version", before?.secrets, release?.secrets),
    ...fields("instances", appBefore?.scale, appAfter?.scale),
    ["strategy", before?.manifest.rollout?.strategy, release?.manifest.rollout?.strategy],
    ["restarts", total(appBefore?.restarts), total(appAfter?.restarts)],
    ["files", undefined, source && source.files > 0 ? `${source.files} differ` : undefined],
    ["migrations", undefined, listOf(source?.migrations) || undefined],
    ["dependencies", undefined, listOf(source?.dependencies) || undefined],
  ];
  return pairs
    .filter(([, one, other]) => String(one ?? "") !== String(other ?? ""))
    .map(([what, one, other]) => ({
      what,
      ...(one !== undefined && { before: String(one) }),
      ...(other !== undefined && { after: String(other) }),
    }));
}

const NAMED_MAX = 20;

const listOf = (names: readonly string[] = []): string =>
  names.length <= NAMED_MAX
    ? names.join(", ")
    : `${names.slice(0, NAMED_MAX).join(", ")} and ${names.length - NAMED_MAX} more`;

const total = (counts: Readonly<Record<string, number>> = {}): number | undefined =>
  Object.values(counts).reduce((sum, count) => sum + count, 0) || undefined;

function fields(
  what: string,
  one: Readonly<Record<string, unknown>> = {},
  other: Readonly<Record<string, unknown>> = {},
): [string, unknown, unknown][] {
  return [...new Set([...Object.keys(one), ...Object.keys(other)])]
    .sort()
    .map((name) => [`${what} ${name}`, one[name], other[name]]);
}
