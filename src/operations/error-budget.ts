// Objectives and what is left of their error budgets, counted from request records.

import { sleep } from "../kernel/clock.ts";
import type { ObjectiveCounts } from "../kernel/objective-counts.ts";
import { type Counted, DEFAULT_POLICY } from "../kernel/signal.ts";
import { OBJECTIVE_DAYS, type Objective } from "../resources/app/objectives.ts";
import { TELEMETRY } from "../resources/telemetry/telemetry.ts";
import type { BudgetLeft } from "./change-risk.ts";
import type { OperationDeps } from "./operation-deps.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** Releases that are named as having spent a budget. */
const CONSUMERS_MAX = 5;
/** Fewer requests say nothing of a budget of thirty days. */
const BUDGET_REQUESTS_MIN = 1_000;
const BUDGET_TIMEOUT_MS = 3_000;

export interface ObjectiveView extends Objective {
  readonly days: number;
  readonly requests: number;
  readonly bad: number;
  /** Share of good requests so far; undefined where there were none. */
  readonly attained?: number;
  /** Share of the error budget that is left; below 0: overspent. */
  readonly budgetLeft: number;
  /** How many times faster than even the budget was spent in the last hour. */
  readonly burnRate: number;
  /** Bad requests by release, most first. */
  readonly consumedBy: readonly { readonly release: number; readonly bad: number }[];
}

/** What is left of an app's error budgets; nothing where nobody can say. */
export async function budgetsLeft(
  deps: OperationDeps,
  environment: string,
  app: string,
): Promise<readonly BudgetLeft[]> {
  const own = deps.objectives().filter((one) => one.environment === environment && one.app === app);
  const asked = Promise.all(own.map((one) => objectiveView(deps, one))).catch(() => []);
  const views = await Promise.race([
    asked,
    sleep(deps.clock, BUDGET_TIMEOUT_MS).then((): ObjectiveView[] => []),
  ]);
  return views
    .filter(({ requests }) => requests >= BUDGET_REQUESTS_MIN)
    .map(({ service, budgetLeft, bad, consumedBy }) => ({
      service,
      left: budgetLeft,
      spentBy: consumedBy.map((one) => ({
        release: one.release,
        share: one.bad / Math.max(bad, 1),
      })),
    }));
}

// Counted from request records, exactly: what Prometheus makes of its samples is an estimate.
export async function objectiveView(
  deps: OperationDeps,
  objective: Objective,
): Promise<ObjectiveView> {
  const { environment, app, service, underSeconds } = objective;
  const now = deps.clock.now();
  const count = (sinceMs: number): Promise<readonly ObjectiveCounts[]> =>
    deps.telemetry.ask("/objective", {
      ...{ environment, app, service },
      ...(underSeconds !== undefined && { underMs: underSeconds * 1_000 }),
      ...{ from: now - sinceMs, to: now },
    });
  // No longer than records are kept.
  const policy = deps.store.find(TELEMETRY, environment);
  const kept = (policy?.spec ?? DEFAULT_POLICY).retention.requests.days;
  const days = Math.min(OBJECTIVE_DAYS, kept);
  const [ofWindow, ofHour] = await Promise.all([count(days * DAY_MS), count(HOUR_MS)]);
  const { total, bad } = sumOf(ofWindow);
  const hour = sumOf(ofHour);
  const budget = 1 - objective.target;
  const ratioOf = (one: Counted): number => (one.total > 0 ? one.bad / one.total : 0);
  return {
    ...objective,
    days,
    requests: total,
    bad,
    ...(total > 0 && { attained: 1 - bad / total }),
    budgetLeft: 1 - ratioOf({ total, bad }) / budget,
    burnRate: ratioOf(hour) / budget,
    consumedBy: ofWindow
      .filter((one) => one.bad > 0)
      .slice(0, CONSUMERS_MAX)
      .map((one) => ({ release: one.release, bad: one.bad })),
  };
}

const sumOf = (counts: readonly Counted[]): Counted => ({
  total: counts.reduce((sum, { total }) => sum + total, 0),
  bad: counts.reduce((sum, { bad }) => sum + bad, 0),
});
