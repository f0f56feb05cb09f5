// How the rollout of a generation of an app goes: what trains and pushes follow.

import type { ResourceStore } from "../kernel/resource-store.ts";
import { APP } from "../resources/app/app.ts";
import type { RolloutState } from "../resources/train/train-plan.ts";

export function rolloutStateOf(
  store: Pick<ResourceStore, "find">,
  name: string,
  generation: number,
): RolloutState {
  const status = store.find(APP, name)?.status;
  const ended = status?.history.find((one) => one.generation === generation && !one.automatic);
  if (ended?.outcome === "succeeded") return { state: "succeeded" };
  if (ended) return { state: "failed", reason: ended.failure?.reason ?? "it did not end well" };
  if ((status?.settledGeneration ?? 0) >= generation)
    return { state: "failed", reason: "a newer change took its place" };
  return { state: "running" };
}
