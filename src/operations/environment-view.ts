// An environment with all that is in force in it.

import { invalid } from "../kernel/error.ts";
import type { ResourceStore } from "../kernel/resource-store.ts";
import {
  classOf,
  defaultHosts,
  ENVIRONMENT,
  type EnvironmentClass,
  type EnvironmentSpec,
} from "../resources/environment/environment.ts";
import {
  type EnvironmentRules,
  effectiveRules,
} from "../resources/environment/environment-rules.ts";
import { POLICY } from "../resources/policy/policy.ts";

export interface EnvironmentView {
  readonly name: string;
  readonly class: EnvironmentClass;
  readonly compute: EnvironmentSpec["compute"];
  /** What becomes of hosts that apps ask for. */
  readonly hosts: string;
  readonly rules: EnvironmentRules;
  /** Of its policy file; 0: that of its class. */
  readonly policyVersion: number;
}

export function findEnvironment(store: ResourceStore, name: string): EnvironmentView {
  const found = store.find(ENVIRONMENT, name);
  if (!found) throw unknownEnvironment(store, name);
  const policy = store.find(POLICY, name);
  const { compute, hosts } = found.spec;
  const own = classOf(found);
  return {
    name,
    class: own,
    compute,
    hosts: hosts ?? defaultHosts(name, own),
    rules: effectiveRules(own, policy?.spec),
    policyVersion: policy?.generation ?? 0,
  };
}

export function unknownEnvironment(store: ResourceStore, name: string): Error {
  const names = store.list(ENVIRONMENT).map((one) => one.name);
  return invalid("environment.not_found", `there is no environment ${name}`, {
    hint:
      names.length > 0
        ? `there is: ${names.join(", ")}; holdfast env create ${name} makes it`
        : "holdfast up",
  });
}
