// What can go wrong before any user gets a release, and how it is said: stores that are not ready, a
// release command that fails, instances that end or never become healthy.

import type { App, Rollout, RolloutPhase } from "./app.ts";
import type { Instance, ProbeResult } from "./app-driver.ts";
import {
  type AppObserved,
  findInstance,
  manifestOf,
  releaseTaskName,
  type WantedInstance,
} from "./app-observed.ts";
import { exitText } from "./instance-exit.ts";
import { graceMsOf } from "./manifest.ts";
import type { RolloutPolicy } from "./rollout-policy.ts";
import type { Progress } from "./rollout-progress.ts";

/** Time the environment's stores have to become ready for a deploy. */
export const STORES_TIMEOUT_MS = 120_000;

/** Time for what is ours alone to do: starting the release command, moving traffic. */
export const OWN_STEP_TIMEOUT_MS = 60_000;

export function judgeStores(rollout: Rollout, observed: AppObserved): Progress {
  if (observed.stores.ready) return { phase: "stores" };
  const { reason, hint } = observed.stores;
  const isLate =
    rollout.phase === "stores" && observed.now - rollout.phaseSince > STORES_TIMEOUT_MS;
  return isLate ? fail(reason, hint) : { phase: "stores", text: `waits: ${reason}` };
}

// Undefined: it has run to its end, the rollout goes on.
export function judgeReleaseCommand(
  app: App,
  rollout: Rollout,
  timeoutMs: number,
  observed: AppObserved,
): Progress | undefined {
  const task = findInstance(
    observed,
    releaseTaskName(app, rollout.placement.set, rollout.generation),
  );
  const phase = { phase: "release-command", text: "release command runs" } as const;
  if (!task) return late(rollout, "release-command", "could not be started", observed) ?? phase;
  const hint = `holdfast logs ${app.name.split("/")[1]}/release`;
  if (task.state === "running") {
    if (observed.now - task.startedAt <= timeoutMs) return phase;
    return fail(
      `the release command took longer than ${timeoutMs / 1000} s`,
      hint,
      tailOf(task, observed),
    );
  }
  if (task.exit?.code === 0) return undefined;
  const reason = `the release command ended with ${exitText(task.exit)}`;
  return fail(reason, hint, tailOf(task, observed));
}

// A phase that only takes us a moment.
export function late(
  { phase, phaseSince, placement }: Rollout,
  expected: RolloutPhase,
  what: string,
  { now, failure }: AppObserved,
): Progress | undefined {
  if (phase !== expected || now - phaseSince <= OWN_STEP_TIMEOUT_MS) return undefined;
  const who = expected === "shifting" ? `release ${placement.set.release}` : "the release command";
  const why = failure?.reason === undefined ? "" : `: ${failure.reason}`;
  return fail(
    `${who} ${what} within ${OWN_STEP_TIMEOUT_MS / 1000} s${why}`,
    failure?.hint ?? "holdfast doctor",
  );
}

/** Nothing waits for a person, or for traffic, for ever. */
export function overdueText(
  { startedAt }: Rollout,
  { timeout }: RolloutPolicy,
  { now }: AppObserved,
): string | undefined {
  if (now - startedAt <= timeout) return undefined;
  return `it was not decided within ${timeout / 60_000} min (rollout.timeout)`;
}

// One that was stopped, or had crashed before this rollout began, says nothing about it.
export const endedBySelf = (instance: Instance | undefined, rollout: Rollout): boolean =>
  instance?.state === "exited" &&
  instance.stoppingSince === undefined &&
  instance.startedAt >= rollout.startedAt;

export function exitedEarly(app: App, wanted: WantedInstance, observed: AppObserved): Progress {
  const instance = findInstance(observed, wanted.name);
  const { name } = wanted.component;
  const clean = instance?.exit?.code === 0;
  return fail(
    `${name} ended with ${exitText(instance?.exit)} before it was ready` +
      (clean ? "; a service or worker must keep running" : ""),
    clean
      ? `a command that ends by itself belongs under jobs or release in holdfast.yaml`
      : `holdfast logs ${app.name.split("/")[1]}/${name}`,
    instance ? tailOf(instance, observed) : [],
  );
}

export function lateInstance(
  rollout: Rollout,
  notReady: readonly WantedInstance[],
  observed: AppObserved,
): WantedInstance | undefined {
  const manifest = manifestOf(observed, rollout.placement.set.release);
  if (rollout.phase !== "starting" || !manifest) return undefined;
  const waitedMs = observed.now - rollout.phaseSince;
  return notReady.find(({ component }) => waitedMs > graceMsOf(manifest, component.name));
}

export function notHealthy(app: App, wanted: WantedInstance, observed: AppObserved): Progress {
  const probe = observed.probes.get(wanted.name);
  const instance = findInstance(observed, wanted.name);
  const manifest = manifestOf(observed, wanted.placement.set.release) ?? missing();
  const graceMs = graceMsOf(manifest, wanted.component.name);
  return fail(
    `${wanted.component.name} did not become healthy within ${graceMs / 1000} s` +
      (probe ? `; last probe: ${probe.detail}` : "") +
      (observed.failure?.reason ? `; ${observed.failure.reason}` : ""),
    observed.failure?.hint ?? probeHint(probe, app, wanted),
    instance ? tailOf(instance, observed) : [],
  );
}

function probeHint(probe: ProbeResult | undefined, app: App, wanted: WantedInstance): string {
  const logs = `holdfast logs ${app.name.split("/")[1]}/${wanted.component.name}`;
  if (probe?.detail.includes("→ 3"))
    return "point health.path in holdfast.yaml at a path that answers 200 itself; redirects are not followed";
  if (probe?.detail.includes("refused"))
    return `nothing listens where it is asked: if it only needs longer to start, raise services.${wanted.component.name}.health.grace; if it listens elsewhere, let it use $PORT or name the port (services.${wanted.component.name}.port); ${logs}`;
  if (probe?.detail.startsWith("GET / → 5"))
    return `an app whose / answers that when it is well needs a services.${wanted.component.name}.health.path that does not; ${logs}`;
  return logs;
}

const missing = (): never => {
  throw new Error("a placement without its release");
};

export const fail = (reason: string, hint: string, log: readonly string[] = []) => ({
  failure: { reason, hint, log },
});

const tailOf = ({ name }: Instance, observed: AppObserved): readonly string[] =>
  observed.tails.get(name) ?? [];

export function startingText(wanted: readonly WantedInstance[], observed: AppObserved): string {
  const total = wanted.length;
  const there = wanted.filter(
    ({ name }) => findInstance(observed, name)?.state === "running",
  ).length;
  return there === total
    ? `waits for ${total} instances`
    : `starts ${total - there} of ${total} instances`;
}
