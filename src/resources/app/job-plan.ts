// Jobs: a run that is due starts once, under a name made of its due time, so no crash can start it
// twice. A run that is due while the last one still works is skipped, and said to be.

import type { App, AppStatusFields, JobState, Placement } from "./app.ts";
import { instanceName } from "./app.ts";
import type { Instance } from "./app-driver.ts";
import { type AppObserved, manifestOf, REHEARSAL_TASK, RELEASE_TASK } from "./app-observed.ts";

/** A run that was missed (control plane away) is made up for if it was due this recently. */
export const JOB_CATCH_UP_MS = 10 * 60_000;

/** Of a run whose release nobody knows any more; the default of holdfast.yaml. */
const JOB_TIMEOUT_MS = 3_600_000;

export interface DueJob {
  readonly job: string;
  readonly placement: Placement;
  readonly dueAt: number;
  readonly instance: string;
}

export const jobInstanceName = (app: App, placement: Placement, job: string, dueAt: number) =>
  instanceName(app.name, job, placement.set, String(Math.floor(dueAt / 1000)));

/** Runs that should start now. `status` is the reported one. */
export function dueJobs(app: App, status: AppStatusFields, observed: AppObserved): DueJob[] {
  const { serving } = status;
  const manifest = serving && manifestOf(observed, serving.set.release);
  if (!serving || !manifest || app.deleting) return [];
  return Object.keys(manifest.jobs).flatMap((job) => {
    const dueAt = observed.schedule.get(job)?.lastDueAt ?? 0;
    const state = status.jobs[job];
    if (!state || dueAt <= state.consideredUntil) return [];
    return [
      { job, placement: serving, dueAt, instance: jobInstanceName(app, serving, job, dueAt) },
    ];
  });
}

/** Of a job whose time is over, also of one that no release has any more: ended by SIGKILL. */
export function overdueJobRuns(
  status: AppStatusFields,
  observed: AppObserved,
): readonly Instance[] {
  const releases = (own: number): number[] => [own, status.serving?.set.release ?? own];
  return observed.instances.filter(({ state, labels, startedAt }) => {
    if (state !== "running" || labels.role !== "task") return false;
    if ([RELEASE_TASK, REHEARSAL_TASK].includes(labels.component)) return false;
    const [job] = releases(labels.release).flatMap(
      (release) => manifestOf(observed, release)?.jobs[labels.component] ?? [],
    );
    const timeout = job?.timeout ?? JOB_TIMEOUT_MS;
    return observed.now - startedAt > timeout;
  });
}

export function reportJobs(
  status: AppStatusFields,
  observed: AppObserved,
): Record<string, JobState> {
  const { serving } = status;
  const manifest = serving && manifestOf(observed, serving.set.release);
  if (!serving || !manifest) return {};
  return Object.fromEntries(
    Object.keys(manifest.jobs).map((job) => [
      job,
      withEnd(reportJob(job, status.jobs[job], observed), status.jobs[job]),
    ]),
  );
}

// What failed has failed until another run has ended: one that runs says nothing yet.
function withEnd(state: JobState, before: JobState | undefined): JobState {
  const { outcome } = state.lastRun ?? {};
  const ended = outcome === "succeeded" || outcome === "failed" ? outcome : before?.lastEnded;
  return ended === undefined ? state : { ...state, lastEnded: ended };
}

function reportJob(job: string, before: JobState | undefined, observed: AppObserved): JobState {
  const { now } = observed;
  // A job that is new here does not make up for the time before it existed.
  if (!before) return { consideredUntil: now };
  const lastRun = followRun(job, before, observed);
  const state: JobState = { ...before, ...(lastRun && { lastRun }) };
  const dueAt = observed.schedule.get(job)?.lastDueAt ?? 0;
  if (dueAt <= before.consideredUntil) return state;
  // Also where an earlier release began it, just before traffic moved.
  const started = runOfJob(job, dueAt, observed);
  if (started) return { consideredUntil: dueAt, lastRun: runOf(started, dueAt) };
  if (lastRun?.outcome === "running") {
    const detail = `skipped the run of ${new Date(dueAt).toISOString()}: this one still works`;
    return { consideredUntil: dueAt, lastRun: { ...lastRun, detail } };
  }
  if (now - dueAt > JOB_CATCH_UP_MS) {
    return {
      consideredUntil: dueAt,
      lastRun: { at: dueAt, outcome: "skipped", detail: "nobody was there to start it in time" },
    };
  }
  return state;
}

function followRun(job: string, before: JobState, observed: AppObserved): JobState["lastRun"] {
  const { lastRun } = before;
  if (lastRun?.outcome !== "running") return lastRun;
  const instance = runOfJob(job, lastRun.at, observed);
  if (instance) return { ...lastRun, ...runOf(instance, lastRun.at) };
  return { ...lastRun, outcome: "failed", detail: "its end was not seen" };
}

function runOfJob(job: string, dueAt: number, observed: AppObserved): Instance | undefined {
  const index = String(Math.floor(dueAt / 1000));
  return observed.instances.find(
    ({ labels }) => labels.component === job && labels.index === index && labels.role === "task",
  );
}

function runOf(instance: Instance, at: number): NonNullable<JobState["lastRun"]> {
  if (instance.state === "running") return { at, outcome: "running" };
  const { exit } = instance;
  if (exit?.code === 0) return { at, outcome: "succeeded" };
  const detail = exit?.detail ?? `exit status ${exit?.code ?? exit?.signal ?? "unknown"}`;
  return { at, outcome: "failed", detail };
}
