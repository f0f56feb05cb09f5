// Trains: several apps released together, in the order of their dependencies.

import { z } from "zod";
import { invalid } from "../kernel/error.ts";
import type { Access } from "../operations/access.ts";
import type { ChangeOperations } from "../operations/change-operations.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import type { TrainOperations } from "../operations/train-operations.ts";
import { name as appName } from "../resources/app/manifest.ts";
import {
  TRAIN,
  type Train,
  type TrainSpec,
  type TrainStatus,
  trainName,
} from "../resources/train/train.ts";
import { type Route, route } from "./route.ts";

const APPS_MAX = 50;

export interface TrainView extends TrainSpec {
  readonly phase: TrainStatus["phase"];
  readonly text: string;
  readonly states: TrainStatus["cars"];
}

export function trainRoutes(
  { store }: OperationDeps,
  changes: ChangeOperations,
  trains: TrainOperations,
  access: Access,
): Route[] {
  const view = ({ spec, status }: Train): TrainView => ({
    ...spec,
    phase: status?.phase ?? "running",
    text: status?.text ?? "",
    states: status?.cars ?? [],
  });
  return [
    route({
      method: "GET",
      path: "/v1/trains",
      summary: "List trains, newest first.",
      handle: ({ actor }) => ({
        trains: store
          .list(TRAIN)
          .toReversed()
          .filter(({ spec }) => access.decide(actor, "view", spec.environment).allowed)
          .map(view),
      }),
    }),
    route({
      method: "GET",
      path: "/v1/trains/{number}",
      summary: "Get a train and the state of each app.",
      params: z.object({ number: z.coerce.number().int().min(1) }),
      handle: ({ params, actor }) => {
        const found = store.find(TRAIN, trainName(params.number));
        if (!found)
          throw invalid("train.not_found", `there is no train ${params.number}`, {
            hint: "holdfast train list",
          });
        access.require(actor, "view", found.spec.environment);
        return view(found);
      },
    }),
    route({
      method: "POST",
      path: "/v1/environments/{environment}/trains",
      summary: "Promote several apps together; if one fails, the previous ones are rolled back.",
      params: z.object({ environment: appName }),
      body: z.object({
        apps: z.array(appName).min(1).max(APPS_MAX),
        from: appName,
        reason: z.string().trim().min(1).max(1_000).optional(),
        emergency: z.boolean().default(false),
        overrideBudget: z.boolean().default(false),
        acceptContract: z.boolean().default(false),
      }),
      handle: async ({ params, body, actor }) => {
        const { apps, from, ...options } = body;
        const { environment } = params;
        const cars = trains.carsOf(environment, from, apps);
        return changes.submit(
          environment,
          { action: "promote", train: { from, cars } },
          actor,
          options,
        );
      },
    }),
  ];
}
