// How the candidate's instances are, beside those that serve: crashes, health checks that fail under
// traffic, memory and CPU at their limit. What befalls both is nobody's fault.

import type { App, AppStatusFields, InstanceSet, Rollout, Vitals } from "./app.ts";
import { isSameSet } from "./app.ts";
import type { Instance } from "./app-driver.ts";
import { type AppObserved, findServer, manifestOf } from "./app-observed.ts";
import { isCrashLoop } from "./crash-backoff.ts";
import { exitText } from "./instance-exit.ts";

/** A single crash may be chance; this many are not. */
const CRASHES = 2;
const UNWELL_MS = 5_000;
/** Of the limit. */
const MEMORY_FULL = 0.9;
const CPU_FULL = 0.95;
/** Looks in a row. */
const SATURATED_LOOKS = 3;
const CPU_LOOKS = 5;

const instancesOf = (
  { instances }: AppObserved,
  set: InstanceSet | undefined,
): readonly Instance[] =>
  instances.filter(({ labels }) => labels.role !== "task" && isSameSet(set, labels));

/** What an instance uses of its limits, 0 to 1. */
interface Fill {
  readonly memory: number;
  readonly cpu: number;
}

export function foldVitals(rollout: Rollout, observed: AppObserved): Rollout {
  const { now, usage } = observed;
  const before = rollout.vitals;
  const own = instancesOf(observed, rollout.placement.set);
  const isUnwell = own.some(({ name }) => findServer(observed, name)?.state === "down");
  const unwellSince = isUnwell ? (before?.unwellSince ?? now) : undefined;
  const vitals: Vitals = {
    at: before?.at ?? now,
    cpuSeconds: before?.cpuSeconds ?? {},
    memoryLooks: before?.memoryLooks ?? 0,
    cpuLooks: before?.cpuLooks ?? 0,
    ...(unwellSince !== undefined && { unwellSince }),
  };
  if (usage.size === 0) return { ...rollout, vitals };
  const fill = (instance: Instance): Fill => fillOf(instance, vitals, observed);
  const others = observed.instances.filter(
    ({ labels }) => labels.role !== "task" && !isSameSet(rollout.placement.set, labels),
  );
  const isFull = (of: readonly Instance[], what: keyof Fill, limit: number): boolean =>
    of.some((one) => fill(one)[what] >= limit);
  const looks = (known: number, what: keyof Fill, limit: number): number =>
    isFull(own, what, limit) && !isFull(others, what, limit) ? known + 1 : 0;
  return {
    ...rollout,
    vitals: {
      ...vitals,
      at: now,
      cpuSeconds: Object.fromEntries(
        [...usage].map(([name, { cpuSeconds }]) => [name, cpuSeconds]),
      ),
      memoryLooks: looks(vitals.memoryLooks, "memory", MEMORY_FULL),
      cpuLooks: looks(vitals.cpuLooks, "cpu", CPU_FULL),
    },
  };
}

function fillOf({ name, labels }: Instance, before: Vitals, observed: AppObserved): Fill {
  const use = observed.usage.get(name);
  const manifest = manifestOf(observed, labels.release);
  const limits =
    manifest?.services[labels.component]?.resources ??
    manifest?.workers[labels.component]?.resources;
  const seconds = (observed.now - before.at) / 1000;
  const cpuBefore = before.cpuSeconds[name];
  const cpu =
    use && cpuBefore !== undefined && seconds > 0 ? (use.cpuSeconds - cpuBefore) / seconds : 0;
  return {
    memory: use && limits?.memory !== undefined ? use.memoryBytes / limits.memory : 0,
    cpu: limits?.cpu === undefined ? 0 : cpu / limits.cpu,
  };
}

/** In words, where the candidate must not get users any more. */
export function vitalTrouble(
  _app: App,
  { serving }: AppStatusFields,
  rollout: Rollout,
  observed: AppObserved,
): string | undefined {
  const { now } = observed;
  const own = instancesOf(observed, rollout.placement.set);
  const crashes = (of: readonly Instance[]) =>
    of.flatMap(({ exits }) => exits.filter(({ at }) => at >= rollout.startedAt));
  const ended = crashes(own);
  const looping = own.find((one) => isCrashLoop(one, now));
  const servingInstances = instancesOf(observed, serving?.set);
  const others = crashes(servingInstances).length;
  // By instance: a release of ten may not crash as often as one of one.
  const isMore = ended.length * servingInstances.length > others * own.length || others === 0;
  if ((ended.length >= CRASHES || looping) && isMore) {
    const last = ended.toSorted((one, other) => other.at - one.at)[0];
    return `its instances ended ${ended.length} times by themselves, the last with ${exitText(last)}; those of what serves ${others} times`;
  }
  const { unwellSince, memoryLooks = 0, cpuLooks = 0 } = rollout.vitals ?? {};
  const down = (of: readonly Instance[]): number =>
    of.filter(({ name }) => findServer(observed, name)?.state === "down").length;
  const isWorse =
    servingInstances.length === 0 ||
    down(own) * servingInstances.length > down(servingInstances) * own.length;
  if (unwellSince !== undefined && now - unwellSince >= UNWELL_MS && isWorse)
    return `it fails its health check under traffic for ${Math.round((now - unwellSince) / 1000)} s`;
  if (memoryLooks >= SATURATED_LOOKS)
    return `it uses more than ${MEMORY_FULL * 100} % of its memory limit, what serves does not`;
  if (cpuLooks >= CPU_LOOKS)
    return `it uses more than ${CPU_FULL * 100} % of its CPU limit, what serves does not`;
  return undefined;
}
