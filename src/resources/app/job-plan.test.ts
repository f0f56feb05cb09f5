import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Release } from "../release/release.ts";
import { type App, type AppStatusFields, EMPTY_STATUS, type JobState } from "./app.ts";
import type { Instance } from "./app-driver.ts";
import type { AppObserved } from "./app-observed.ts";
import { dueJobs, JOB_CATCH_UP_MS, reportJobs } from "./job-plan.ts";
import { manifestSchema } from "./manifest.ts";

const DUE = 1_800_000_000_000;
const manifest = manifestSchema.parse({
  name: "shop",
  jobs: { report: { command: "x", schedule: "@hourly" } },
});
const placement = { set: { release: 1, restarts: 0 }, slot: "a", counts: {} } as const;

function world(
  now: number,
  job: JobState | undefined,
  instances: readonly Partial<Instance>[] = [],
) {
  const status: AppStatusFields = {
    ...EMPTY_STATUS,
    serving: { ...placement, since: 0 },
    jobs: job ? { report: job } : {},
  };
  const app = {
    kind: "app",
    name: "production/shop",
    spec: { release: 1 },
    status,
    deleting: false,
  } as unknown as App;
  const release = { spec: { manifest }, status: { phase: "ready" } } as unknown as Release;
  const observed = {
    now,
    releases: new Map([[1, release]]),
    instances,
    schedule: new Map([["report", { lastDueAt: DUE, nextDueAt: DUE + 3_600_000 }]]),
  } as unknown as AppObserved;
  const reported = { ...status, jobs: reportJobs(status, observed) };
  return { state: reported.jobs["report"], due: dueJobs(app, reported, observed) };
}

const run = (state: "running" | "exited", code = 0): Partial<Instance> => ({
  name: `production.shop.report.r1.${DUE / 1000}`,
  labels: { component: "report", role: "task", release: 1, restarts: 0, index: String(DUE / 1000) },
  state,
  exit: state === "exited" ? { at: DUE + 5, code, signal: undefined } : undefined,
  startedAt: DUE,
});

describe("jobs", () => {
  it("do not make up for the time before they existed", () => {
    assert.deepEqual(world(DUE + 1, undefined).due, []);
  });

  it("start once when they are due, under a name made of the due time", () => {
    const { due } = world(DUE + 10, { consideredUntil: DUE - 1 });
    assert.equal(due[0]?.instance, `production.shop.report.r1.${DUE / 1000}`);
    const after = world(DUE + 20, { consideredUntil: DUE - 1 }, [run("running")]);
    assert.deepEqual(after.due, []);
    assert.equal(after.state?.consideredUntil, DUE);
    assert.equal(after.state?.lastRun?.outcome, "running");
  });

  it("are made up for after a short absence, and skipped after a long one", () => {
    assert.equal(world(DUE + JOB_CATCH_UP_MS - 1, { consideredUntil: DUE - 1 }).due.length, 1);
    const late = world(DUE + JOB_CATCH_UP_MS + 1, { consideredUntil: DUE - 1 });
    assert.equal(late.due.length, 0);
    assert.equal(late.state?.lastRun?.outcome, "skipped");
  });

  it("are skipped while the last run still works, which is said", () => {
    const before = { at: DUE - 3_600_000, outcome: "running" } as const;
    const old: Partial<Instance> = {
      ...run("running"),
      name: "old",
      labels: {
        component: "report",
        role: "task",
        release: 1,
        restarts: 0,
        index: String((DUE - 3_600_000) / 1000),
      },
    };
    const { due, state } = world(DUE + 1, { consideredUntil: DUE - 1, lastRun: before }, [old]);
    assert.deepEqual(due, []);
    assert.match(state?.lastRun?.detail ?? "", /skipped the run/);
  });

  it("record how they ended", () => {
    const { state } = world(
      DUE + 10,
      { consideredUntil: DUE, lastRun: { at: DUE, outcome: "running" } },
      [run("exited", 3)],
    );
    assert.equal(state?.lastRun?.outcome, "failed");
    assert.match(state.lastRun.detail ?? "", /exit status 3/);
  });
});
