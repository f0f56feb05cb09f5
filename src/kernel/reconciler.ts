// One reconciler per kind. Two of its parts touch the world (observe, apply), two only think
// (report, plan). Status is written between thinking and acting, so what must be remembered
// ("this cluster has held data") is on disk before the world can depend on it.

import type { Kind } from "./kind.ts";
import type { AnyStep, Plan } from "./plan.ts";
import type { Resource } from "./resource.ts";

export interface Reconciler<Spec, Status, Observed, Step extends AnyStep> {
  readonly kind: Kind<Spec, Status>;
  /** Reads the world and changes nothing. */
  observe(resource: Resource<Spec, Status>, signal: AbortSignal): Promise<Observed>;
  /** Pure: what is now known, from what was known and what is seen. */
  report(resource: Resource<Spec, Status>, observed: Observed): Status;
  /** Pure: what to do now. `resource.status` is already the reported one. */
  plan(resource: Resource<Spec, Status>, observed: Observed): Plan<Step>;
  /** Idempotent: doing a step twice, or again after a lost reply, is harmless. */
  apply(resource: Resource<Spec, Status>, step: Step, signal: AbortSignal): Promise<void>;
  /** True once a deleted resource has nothing left in the world and may be forgotten. */
  isGone(resource: Resource<Spec, Status>, observed: Observed): boolean;
}
