// What of a new set of rules lets through what the old one did not: pure. A rule that this file does
// not know counts as loosened when it changes.

import type { EnvironmentRules } from "./environment-rules.ts";

type Rule = keyof EnvironmentRules;
type IsLooser<Value> = (before: Value, after: Value) => boolean;

const higher: IsLooser<number> = (before, after) => after > before;
const lower: IsLooser<number> = (before, after) => after < before;
const more: IsLooser<readonly (string | number)[]> = (before, after) =>
  after.some((one) => !before.includes(one));
const becomes =
  <Value>(loose: Value): IsLooser<Value> =>
  (before, after) =>
    before !== after && after === loose;

const LOOSER: { readonly [Key in Rule]: IsLooser<EnvironmentRules[Key]> } = {
  protected: becomes(false),
  approvals: lower,
  approvalsWhenAlone: becomes<EnvironmentRules["approvalsWhenAlone"]>("waive"),
  approverTieHours: lower,
  standardChanges: more,
  uncommittedSources: becomes<EnvironmentRules["uncommittedSources"]>("allow"),
  strategies: more,
  // Empty: from anywhere.
  promoteFrom: (before, after) => before.length > 0 && (after.length === 0 || more(before, after)),
  contractMigrations: becomes<EnvironmentRules["contractMigrations"]>("allow"),
  releaseCommandSeconds: higher,
  maxInstances: higher,
  spentErrorBudget: becomes<EnvironmentRules["spentErrorBudget"]>("allow"),
  riskyFrom: higher,
  reviewHours: higher,
  changeDays: higher,
  telemetryDays: higher,
  localPorts: more,
  cloudMetadata: becomes<EnvironmentRules["cloudMetadata"]>("allow"),
};

/** `approvals: 1 → 0`, for each rule that is loosened. */
export function loosenedRules(before: EnvironmentRules, after: EnvironmentRules): string[] {
  return (Object.keys(LOOSER) as Rule[]).flatMap((rule) => {
    const isLooser = LOOSER[rule] as IsLooser<unknown>;
    if (!isLooser(before[rule], after[rule])) return [];
    return [`${rule}: ${textOf(before[rule])} → ${textOf(after[rule])}`];
  });
}

const textOf = (value: unknown): string =>
  Array.isArray(value) ? value.join(", ") || "none" : String(value);
