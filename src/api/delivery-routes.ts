// How delivery goes: the figures of the trade, by app and environment.

import { z } from "zod";
import type { Access } from "../operations/access.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import { APP, type DeliveryRecord } from "../resources/app/app.ts";
import { type DeliveryFigures, deliveryFigures } from "../resources/app/delivery.ts";
import { name as appName } from "../resources/app/manifest.ts";
import { ENVIRONMENT } from "../resources/environment/environment.ts";
import { type Route, route } from "./route.ts";

const DAYS_DEFAULT = 30;

export interface DeliveryView extends DeliveryFigures {
  readonly environment: string;
  /** Empty: all apps of the environment together. */
  readonly app: string;
}

export function deliveryRoutes({ store, clock }: OperationDeps, access: Access): Route[] {
  return [
    route({
      method: "GET",
      path: "/v1/delivery",
      summary: "Get lead time, deploy frequency, change failure rate and time to restore.",
      query: z.object({
        app: appName.optional(),
        days: z.coerce.number().min(1).max(365).default(DAYS_DEFAULT),
      }),
      handle: ({ query, actor }) => {
        const now = clock.now();
        const figures = (
          environment: string,
          app: string,
          groups: readonly (readonly DeliveryRecord[])[],
        ): DeliveryView => ({ environment, app, ...deliveryFigures(groups, now, query.days) });
        const views = store
          .list(ENVIRONMENT)
          .filter(({ name }) => access.decide(actor, "view", name).allowed)
          .flatMap(({ name }) => {
            const apps = store
              .list(APP, `${name}/`)
              .map((one) => [one.name.split("/")[1] ?? "", one.status?.deliveries ?? []] as const)
              .filter(([app]) => query.app === undefined || app === query.app);
            const whole =
              apps.length > 1
                ? [
                    figures(
                      name,
                      "",
                      apps.map(([, records]) => records),
                    ),
                  ]
                : [];
            return [...whole, ...apps.map(([app, records]) => figures(name, app, [records]))];
          });
        return { delivery: views };
      },
    }),
  ];
}
