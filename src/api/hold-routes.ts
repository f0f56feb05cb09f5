// Source that was taken back, and letting it go again.

import { z } from "zod";
import type { Access } from "../operations/access.ts";
import { findEnvironment } from "../operations/environment-view.ts";
import { type HoldDeps, type HoldView, heldOf, releaseHold } from "../operations/holds.ts";
import { APP } from "../resources/app/app.ts";
import { name as appName } from "../resources/app/manifest.ts";
import { type Route, route } from "./route.ts";

export function holdRoutes(deps: HoldDeps, access: Access): Route[] {
  return [
    route({
      method: "GET",
      path: "/v1/holds",
      summary: "List sources that were rolled back and are held from automatic deploys.",
      query: z.object({ environment: appName.optional() }),
      handle: ({ query, actor }) => {
        if (query.environment !== undefined) findEnvironment(deps.store, query.environment);
        const prefix = query.environment === undefined ? "" : `${query.environment}/`;
        const holds = deps.store.list(APP, prefix).flatMap((one) => {
          const { environment } = one.spec;
          if (!access.decide(actor, "view", environment).allowed) return [];
          return heldOf(deps.store, one.name).map(
            (held): HoldView => ({ environment, app: one.name.split("/")[1] ?? "", ...held }),
          );
        });
        return { holds };
      },
    }),
    route({
      method: "POST",
      path: "/v1/apps/{environment}/{app}/hold/release",
      summary: "Release a hold, so that pushes and pipelines may deploy the source again.",
      params: z.object({ environment: appName, app: appName }),
      body: z
        .object({
          commit: z
            .string()
            .trim()
            .min(4)
            .max(64)
            .optional()
            .describe("Default: all of the app's."),
        })
        .default({}),
      handle: ({ params, body, actor }) =>
        releaseHold(deps, `${params.environment}/${params.app}`, body.commit, actor),
    }),
  ];
}
