// What the rules of an environment let in. Nothing here writes.

import { invalid } from "../kernel/error.ts";
import { componentsOf, type Manifest } from "../resources/app/manifest.ts";
import type { EnvironmentView } from "./environment-view.ts";

const POLICY_HINT = "an admin can change it: holdfast policy show, then holdfast policy set <file>";

/** New code, and where from; undefined: from a folder. */
export function assertCodeFrom({ name, rules }: EnvironmentView, from: string | undefined): void {
  const { promoteFrom } = rules;
  if (promoteFrom.length === 0 || (from !== undefined && promoteFrom.includes(from))) return;
  const [first] = promoteFrom;
  throw invalid(
    "policy.promote_only",
    `${name} takes new code only from ${promoteFrom.join(" or ")} (rule promoteFrom)`,
    {
      hint: `holdfast deploy --env ${first}, then holdfast promote <app> --from ${first} --to ${name}; ${POLICY_HINT}`,
    },
  );
}

/** @throws policy.uncommitted where what is deployed is not exactly a commit, and has to be */
export function assertCommitted(
  { name, rules }: EnvironmentView,
  { commit, uncommitted }: { readonly commit?: string | undefined; readonly uncommitted?: boolean },
): void {
  if (rules.uncommittedSources === "allow" || (commit !== undefined && !uncommitted)) return;
  throw invalid(
    "policy.uncommitted",
    `${name} takes only what was committed (rule uncommittedSources), and ${commit === undefined ? "this is no commit" : `this is commit ${commit.slice(0, 12)} with changes`}`,
    { hint: `commit it, then deploy again; ${POLICY_HINT}` },
  );
}

/** What an app asks for of itself. */
export function assertRules(
  { name, rules }: EnvironmentView,
  manifest: Manifest,
  scale: Readonly<Record<string, number>> = {},
): void {
  const { strategy } = manifest.rollout;
  if (!rules.strategies.includes(strategy))
    throw invalid(
      "policy.strategy",
      `${name} does not let a release come by ${strategy} (rule strategies)`,
      { hint: `it lets: ${rules.strategies.join(", ")}; ${POLICY_HINT}` },
    );
  const seconds = (manifest.release?.timeout ?? 0) / 1_000;
  if (seconds > rules.releaseCommandSeconds)
    throw invalid(
      "policy.release_command",
      `release.timeout is ${seconds} s, ${name} gives a release command ${rules.releaseCommandSeconds} s (rule releaseCommandSeconds)`,
      { hint: `give it less in holdfast.yaml; ${POLICY_HINT}` },
    );
  assertInstances({ name, rules }, manifest, scale);
}

/** @throws policy.instances where it would have more than the environment lets an app have */
export function assertInstances(
  { name, rules }: Pick<EnvironmentView, "name" | "rules">,
  manifest: Manifest,
  scale: Readonly<Record<string, number>>,
): void {
  const instances = componentsOf(manifest).reduce(
    (sum, one) => sum + (scale[one.name] ?? one.instances),
    0,
  );
  if (instances > rules.maxInstances)
    throw invalid(
      "policy.instances",
      `${manifest.name} asks for ${instances} instances, ${name} gives an app ${rules.maxInstances} (rule maxInstances)`,
      { hint: `ask for fewer; ${POLICY_HINT}` },
    );
}
