// Environments, their rules, and what is brought from one to another.

import { z } from "zod";
import { Access } from "../operations/access.ts";
import type { ChangeControl } from "../operations/change-control.ts";
import type { ChangeOperations, Outcome } from "../operations/change-operations.ts";
import type { ControlOperations } from "../operations/control-operations.ts";
import { findEnvironment } from "../operations/environment-view.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import { Promotion } from "../operations/promotion.ts";
import { name as appName } from "../resources/app/manifest.ts";
import { CLASSES, ENVIRONMENT, hostsPattern } from "../resources/environment/environment.ts";
import { CLASS_RULES } from "../resources/environment/environment-rules.ts";
import { EMPTY_POLICY, POLICY, POLICY_MAX_CHARS } from "../resources/policy/policy.ts";
import { type Route, route } from "./route.ts";

const environment = appName.describe("Name of the environment, such as production.");
const inEnvironment = z.object({ environment });
/** What loosens control waits for somebody else; these say that it can't. */
export const breakGlass = {
  reason: z.string().trim().min(1).max(1_000).optional().describe("Why; an emergency needs it."),
  emergency: z
    .boolean()
    .default(false)
    .describe("Although it loosens control: at once, announced, and reviewed afterwards."),
};

export function environmentRoutes(
  deps: OperationDeps,
  { changes, controls }: Pick<ChangeControl, "changes" | "controls">,
): Route[] {
  const access = new Access(deps);
  const viewOf = (name: string) => findEnvironment(deps.store, name);
  return [
    route({
      method: "GET",
      path: "/v1/environments",
      summary: "List environments with their classes and rules.",
      handle: ({ actor }) => ({
        environments: deps.store
          .list(ENVIRONMENT)
          .filter(({ name }) => access.decide(actor, "view", name).allowed)
          .map(({ name }) => viewOf(name)),
      }),
    }),
    route({
      method: "GET",
      path: "/v1/environments/{environment}",
      summary: "Get an environment: class, hosts, effective rules.",
      params: inEnvironment,
      handle: ({ params }) => viewOf(params.environment),
    }),
    route({
      method: "PUT",
      path: "/v1/environments/{environment}",
      summary: "Create or update an environment with its stores.",
      params: inEnvironment,
      body: z
        .object({
          compute: z.enum(["process", "docker"]).optional(),
          class: z.enum(CLASSES).optional(),
          hosts: hostsPattern.optional(),
          isNew: z.boolean().default(false).describe("Refuse where it is there already."),
          ...breakGlass,
        })
        .default({ isNew: false, emergency: false }),
      handle: ({ params, body, actor }) => {
        const { reason, emergency, ...change } = body;
        const request = { action: "environment", environment: params.environment, change } as const;
        const outcome = controls.submit(request, actor, { reason, emergency });
        return { ...viewOf(params.environment), ...waitingOf(outcome) };
      },
    }),
    ...policyRoutes(deps, controls),
    ...promotionRoutes(deps, changes),
  ];
}

function promotionRoutes(deps: OperationDeps, changes: ChangeOperations): Route[] {
  const promotion = new Promotion(deps);
  return [
    route({
      method: "POST",
      path: "/v1/environments/{environment}/promotions",
      summary: "Promote a release from another environment, with the same artifact.",
      params: inEnvironment,
      body: z.object({
        app: appName,
        from: environment,
        release: z.number().int().min(1).optional(),
        reason: z.string().trim().min(1).max(1_000).optional(),
        emergency: z.boolean().default(false),
        overrideBudget: z.boolean().default(false),
        acceptContract: z.boolean().default(false),
      }),
      handle: ({ params, body, actor }) => {
        const { reason, emergency, overrideBudget, acceptContract, ...what } = body;
        const options = { reason, emergency, overrideBudget, acceptContract };
        return changes.submit(params.environment, { action: "promote", ...what }, actor, options);
      },
    }),
    route({
      method: "GET",
      path: "/v1/diff",
      summary: "Compare two environments: releases, settings, sizes, rules.",
      query: z.object({ one: environment, other: environment }),
      handle: ({ query }) => promotion.diff(query.one, query.other),
    }),
  ];
}

/** The change that it became; nothing where it is written. */
export const waitingOf = ({
  change,
  pending,
  emergency,
}: Outcome): Pick<Outcome, "change" | "pending" | "emergency"> => ({
  ...(change !== undefined && { change }),
  ...(pending !== undefined && { pending }),
  ...(emergency && { emergency }),
});

function policyRoutes(deps: OperationDeps, controls: ControlOperations): Route[] {
  const find = (name: string) => deps.store.find(POLICY, name);
  return [
    route({
      method: "GET",
      path: "/v1/environments/{environment}/policy",
      summary: "Get the policy of an environment, the rules of its class and the effective rules.",
      params: inEnvironment,
      handle: ({ params }) => {
        const place = findEnvironment(deps.store, params.environment);
        const { rules, cedar } = find(params.environment)?.spec ?? EMPTY_POLICY;
        return {
          environment: place.name,
          class: place.class,
          version: place.policyVersion,
          rules,
          cedar,
          classRules: CLASS_RULES[place.class],
          inForce: place.rules,
        };
      },
    }),
    route({
      method: "PUT",
      path: "/v1/environments/{environment}/policy",
      summary:
        "Set the policy of an environment (YAML): rules that differ from its class, and Cedar policies.",
      params: inEnvironment,
      body: z.object({
        text: z.string().max(POLICY_MAX_CHARS),
        version: z.number().int().min(0).optional().describe("The one that it was made from."),
        dryRun: z.boolean().default(false),
        ...breakGlass,
      }),
      handle: ({ params, body, actor }) => {
        const { environment: name } = params;
        const before = findEnvironment(deps.store, name);
        const spec = controls.parsePolicy(body.text);
        const inForce = { ...CLASS_RULES[before.class], ...spec.rules };
        const { text, version } = body;
        const request = { action: "policy", environment: name, text, version } as const;
        const { reasons } = controls.loosening(request);
        const outcome = body.dryRun
          ? undefined
          : controls.submit(request, actor, { reason: body.reason, emergency: body.emergency });
        const { policyVersion } = findEnvironment(deps.store, name);
        return {
          environment: name,
          version: policyVersion,
          before: before.rules,
          inForce,
          loosens: reasons,
          ...spec,
          ...(outcome && waitingOf(outcome)),
        };
      },
    }),
  ];
}
