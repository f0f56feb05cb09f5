// Rollouts: looking at one, and saying what shall become of it.

import { z } from "zod";
import { invalid } from "../kernel/error.ts";
import type { AppOperations } from "../operations/app-operations.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import type { App, Rollout } from "../resources/app/app.ts";
import { name as appName } from "../resources/app/manifest.ts";
import { ROLLOUT, type RolloutWish } from "../resources/rollout/rollout.ts";
import { type RolloutView, rolloutSeries, rolloutView, type SeriesPoint } from "./rollout-view.ts";
import { type Route, route } from "./route.ts";

const ofApp = z.object({
  environment: appName.describe("Name of the environment, such as production."),
  app: appName,
});
const REASON_MAX = 1_000;
const WISHES = ["pause", "resume", "promote", "abort"] as const;

export interface RolloutReport extends RolloutView {
  readonly series: readonly SeriesPoint[];
}

export function rolloutRoutes(deps: OperationDeps, operations: AppOperations): Route[] {
  const viewOf = (app: App, rollout: Rollout): RolloutView => {
    const release = operations
      .releasesOf(app.name)
      .find(({ spec }) => spec.number === rollout.placement.set.release);
    return rolloutView(app, rollout, release?.spec.manifest, wishOf(deps, app), deps.clock.now());
  };
  return [
    route({
      method: "GET",
      path: "/v1/apps/{environment}/{app}/rollout",
      summary: "Get the current or last rollout, or the last one of a release.",
      params: ofApp,
      query: z.object({
        release: z.coerce.number().int().min(1).optional(),
        series: z.stringbool().default(false).describe("With the points of its charts."),
      }),
      handle: async ({ params, query }) => {
        const app = operations.getApp(params.environment, params.app);
        const view = viewOf(app, findRollout(app, query.release));
        if (!query.series) return view;
        return { ...view, series: await rolloutSeries(deps, view, deps.clock.now()) };
      },
    }),
    ...WISHES.map((wish) =>
      route({
        method: "POST",
        path: `/v1/apps/{environment}/{app}/rollout/${wish}`,
        summary: SUMMARIES[wish],
        params: ofApp,
        body: z.object({ reason: z.string().trim().min(1).max(REASON_MAX).optional() }).default({}),
        handle: ({ params, body, actor }) => {
          const app = operations.getApp(params.environment, params.app);
          const rollout = requireRunning(app);
          assertPossible(app, rollout, wish);
          const spec: RolloutWish = {
            generation: rollout.generation,
            wish,
            ...(rollout.stage !== undefined && { stage: rollout.stage }),
            by: actor.name,
            ...(body.reason !== undefined && { reason: body.reason }),
          };
          deps.store.writeSpec(ROLLOUT, app.name, spec, { actor, action: wish });
          return viewOf(app, rollout);
        },
      }),
    ),
  ];
}

const SUMMARIES = {
  pause: "Pause a rollout at its current stage; analysis continues.",
  resume: "Resume a rollout, or confirm a stage that waits for a decision.",
  promote: "Skip the remaining stages of a rollout.",
  abort: "Abort a rollout and return all traffic to the live release.",
} as const;

const wishOf = ({ store }: OperationDeps, app: App): RolloutWish | undefined =>
  store.find(ROLLOUT, app.name)?.spec;

function findRollout(app: App, release: number | undefined): Rollout {
  const all = [
    ...(app.status?.rollout ? [app.status.rollout] : []),
    ...(app.status?.history ?? []),
  ];
  const found =
    release === undefined ? all[0] : all.find(({ placement }) => placement.set.release === release);
  if (found) return found;
  const name = app.name.split("/")[1];
  throw invalid(
    "rollout.not_found",
    release === undefined
      ? `${name} had no rollout yet`
      : `no rollout of release ${release} of ${name} is remembered`,
    { hint: `holdfast releases ${name}` },
  );
}

function requireRunning(app: App): Rollout {
  const rollout = app.status?.rollout;
  if (rollout) return rollout;
  const name = app.name.split("/")[1];
  throw invalid("rollout.none", `nothing of ${name} is being rolled out`, {
    hint: `holdfast rollout ${name} shows the last one; holdfast rollback ${name} goes back`,
  });
}

// What would have no effect is refused, not swallowed.
function assertPossible(app: App, rollout: Rollout, wish: RolloutWish["wish"]): void {
  const name = app.name.split("/")[1];
  const isHeld = rollout.phase === "stepping" || rollout.phase === "preview";
  if (rollout.automatic !== undefined)
    throw invalid("rollout.automatic", `${name} is being taken back by itself`, {
      hint: `holdfast rollout ${name} --watch`,
    });
  if (wish === "abort" || isHeld) return;
  throw invalid(
    "rollout.no_stage",
    `release ${rollout.placement.set.release} is ${rollout.phase}: there is no stage to ${wish}`,
    { hint: `holdfast rollout ${name} --watch, or holdfast abort ${name}` },
  );
}
