import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { AppStep } from "../../src/resources/app/app-step.ts";
import { type AppReconciler, simulate } from "./shop-simulation.ts";

const SEEDS = Number(process.env["HOLDFAST_SIMULATION_SEEDS"] ?? 60);
const FIRST_SEED = Number(process.env["HOLDFAST_SIMULATION_FIRST_SEED"] ?? 1);
/** A planted bug must be seen within this many stories. */
const SEEDS_TO_CATCH = 60;

describe("simulation", () => {
  it(`keeps its promises in ${SEEDS} stories with faults`, async () => {
    for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed += 1) await simulate({ seed });
  });

  describe("catches a planted bug", () => {
    const withPlan =
      (
        change: (
          steps: AppStep[],
          app: Parameters<AppReconciler["plan"]>[0],
          observed: Parameters<AppReconciler["plan"]>[1],
        ) => AppStep[],
      ) =>
      (reconciler: AppReconciler): AppReconciler => ({
        ...reconciler,
        plan: (app, observed) => {
          const plan = reconciler.plan(app, observed);
          const [first, ...rest] = change(
            plan.verdict === "change" ? [...plan.steps] : [],
            app,
            observed,
          );
          return first ? { verdict: "change", steps: [first, ...rest], recheckAfterMs: 20 } : plan;
        },
      });

    it("SIGTERM before leaving the pool", async () => {
      await assertCaught(
        withPlan((steps) =>
          steps.map((step) =>
            step.do === "leave-pool"
              ? { do: "terminate-instance", name: step.server.name, why: "bug" }
              : step,
          ),
        ),
      );
    });

    it("joining a pool before being ready", async () => {
      await assertCaught(
        withPlan((steps, app, observed) => {
          const slot = app.status?.rollout?.placement.slot ?? "a";
          const early = observed.instances.filter(
            ({ labels, address, state }) =>
              labels.role === "service" && address && state === "running",
          );
          const joins = early.map(
            (one): AppStep => ({
              do: "join-pool",
              why: "bug",
              server: {
                service: one.labels.component,
                slot,
                name: one.name,
                address: one.address ?? { host: "", port: 0 },
              },
            }),
          );
          return observed.edge?.declaration ? [...steps, ...joins] : steps;
        }),
      );
    });

    it("moving traffic before the new release is ready", async () => {
      await assertCaught(
        withPlan((steps, app, observed) => {
          const { rollout } = app.status ?? {};
          if (rollout?.phase !== "starting" || !observed.edge?.declaration) return steps;
          const { slot } = rollout.placement;
          return [
            {
              do: "shift-traffic",
              why: "bug",
              traffic: { slots: { web: slot, api: slot }, releases: {}, routes: [] },
            },
            ...steps,
          ];
        }),
      );
    });

    it("random names for instances", async () => {
      await assertCaught((reconciler, random) =>
        withPlan((steps) =>
          steps.map((step) =>
            step.do === "start-instance"
              ? {
                  ...step,
                  instance: {
                    ...step.instance,
                    name: `${step.instance.name}-${random.between(1, 1_000_000)}`,
                  },
                }
              : step,
          ),
        )(reconciler),
      );
    });

    it("running the release command again", async () => {
      await assertCaught((reconciler) => ({
        ...reconciler,
        report: (app, observed) => ({ ...reconciler.report(app, observed), released: [] }),
      }));
    });

    it("SIGKILL without SIGTERM", async () => {
      await assertCaught(
        withPlan((steps) =>
          steps.map((step) =>
            step.do === "terminate-instance" ? { ...step, do: "kill-instance" } : step,
          ),
        ),
      );
    });

    it("forgetting what was being rolled out", async () => {
      await assertCaught((reconciler) => ({
        ...reconciler,
        report: (app, observed) => {
          const { rollout: _, ...rest } = reconciler.report(app, observed);
          return rest;
        },
      }));
    });
  });
});

async function assertCaught(
  sabotage: NonNullable<Parameters<typeof simulate>[0]["sabotage"]>,
): Promise<void> {
  for (let seed = 1; seed <= SEEDS_TO_CATCH; seed += 1) {
    const caught = await simulate({ seed, sabotage }).then(
      () => undefined,
      (error: Error) => error,
    );
    if (caught) return assert.match(caught.message, /^seed \d+/);
  }
  assert.fail(`not seen in ${SEEDS_TO_CATCH} stories`);
}
