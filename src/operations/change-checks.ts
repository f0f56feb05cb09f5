// What stands in the way of a change, beyond what running it would be refused with: migrations that
// take away what still runs, and an error budget that is spent.

import { invalid } from "../kernel/error.ts";
import type { MigrationFacts } from "../resources/release/release.ts";
import type { MigrationFinding } from "../resources/release/release-driver.ts";
import type { ChangeFacts, ChangeOptions } from "./change-record.ts";
import type { BudgetLeft } from "./change-risk.ts";
import type { ChangeRequest, Rehearsal } from "./change-runner.ts";
import type { EnvironmentView } from "./environment-view.ts";

export const findingText = ({ file, line, kind, text }: MigrationFinding): string =>
  `${file}:${line} ${kind === "contract" ? "breaks the running release" : kind}: ${text}`;

/** A deploy remembers what its migrations take away: a rollback has to know. */
export function withMigrations(
  request: ChangeRequest,
  known: ReadonlyMap<string, MigrationFacts>,
): ChangeRequest {
  const [own = {}] = known.values();
  const isEmpty = (facts: MigrationFacts): boolean => Object.keys(facts).length === 0;
  if (request.action === "deploy" && !isEmpty(own))
    return { ...request, source: { ...request.source, ...own } };
  if (request.action !== "promote") return request;
  if (!("train" in request)) return isEmpty(own) ? request : { ...request, migrations: own };
  const cars = request.train.cars.map((car) => {
    const ofCar = known.get(car.app) ?? {};
    return isEmpty(ofCar) ? car : { ...car, migrations: ofCar };
  });
  return { ...request, train: { ...request.train, cars } };
}

/**
 * What of them a release keeps.
 *
 * @param hasChanged its source is another one than that of the release before
 */
export function migrationFacts(
  { rules }: EnvironmentView,
  findings: readonly MigrationFinding[],
  hasChanged: boolean,
  { acceptContract }: ChangeOptions,
): MigrationFacts {
  const contracts = findings.filter(({ kind }) => kind === "contract").map(({ text }) => text);
  const isRehearsed = hasChanged && rules.contractMigrations === "refuse";
  return {
    ...(contracts.length > 0 && { contracts }),
    ...(isRehearsed && { rehearse: acceptContract ? "note" : "refuse" }),
  };
}

export function assertExpands(
  { name, rules }: EnvironmentView,
  { accepted }: Rehearsal,
  migrations: readonly MigrationFinding[],
  { acceptContract, reason }: ChangeOptions,
): void {
  const contracts = migrations.filter(({ kind }) => kind === "contract");
  if (contracts.length === 0 || rules.contractMigrations === "allow") return;
  if (acceptContract) {
    assertAccepted(reason);
    return;
  }
  throw invalid(
    "migration.contracts",
    `migrations of ${accepted.app} would break the release that still runs in ${name}:\n  ${contracts.map(findingText).join("\n  ")}`,
    {
      hint: "deploy first a release that does without it, then the migration; or --accept-contract --reason <why>",
    },
  );
}

/** Whoever accepts what can't be undone says why: it stands in the record. */
export function assertAccepted(reason: string | undefined): void {
  if (reason !== undefined) return;
  throw invalid("change.no_reason", "--accept-contract needs a reason", {
    hint: "--accept-contract --reason <why nothing needs it any more>",
  });
}

export function assertBudget(
  place: EnvironmentView,
  { budgets, risk }: ChangeFacts,
  options: ChangeOptions,
): void {
  const spent = budgets.find(({ left, repairs }) => left <= 0 && repairs === undefined);
  const { spentErrorBudget, riskyFrom } = place.rules;
  if (!spent || spentErrorBudget === "allow" || risk.score < riskyFrom) return;
  if (options.overrideBudget && options.reason !== undefined) return;
  throw invalid(
    "change.budget_spent",
    `the error budget of ${spent.service} is spent${blameOf(spent)}, and this change is risky (${risk.score} of 100, held from ${riskyFrom})`,
    {
      hint: "make it smaller, wait until the budget recovers (holdfast slo), or --override-budget --reason <why>. What repairs a release that spent much of it is not held, until a newer one has succeeded",
    },
  );
}

const blameOf = ({ spentBy: [most] = [] }: BudgetLeft): string =>
  most === undefined ? "" : ` (${Math.round(most.share * 100)} % of it by release ${most.release})`;
