// What of this machine an app may reach beside itself.

import type { ResourceStore } from "../kernel/resource-store.ts";
import { classOf, ENVIRONMENT, guessClass } from "../resources/environment/environment.ts";
import { effectiveRules } from "../resources/environment/environment-rules.ts";
import { POLICY } from "../resources/policy/policy.ts";

export interface AppReach {
  /** Ports of this machine. */
  readonly doors: readonly number[];
  /** The cloud's metadata service. */
  readonly asksMetadata: boolean;
}

/** @param own  those that every app of its environment may reach */
export function appReach(appName: string, own: readonly number[], store: ResourceStore): AppReach {
  const name = appName.split("/")[0] ?? "";
  const environment = store.find(ENVIRONMENT, name);
  const policy = store.find(POLICY, name);
  const rules = effectiveRules(environment ? classOf(environment) : guessClass(name), policy?.spec);
  return { doors: [...own, ...rules.localPorts], asksMetadata: rules.cloudMetadata === "allow" };
}
