// Everything the platform can be asked. The command line and the console have no other way in.

import type { Readable } from "node:stream";
import { z } from "zod";
import { Redacted } from "../kernel/redacted.ts";
import type { AppOperations } from "../operations/app-operations.ts";
import { composeChangeControl } from "../operations/change-control.ts";
import type { ChangeOperations } from "../operations/change-operations.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import { APP, type App, appResourceName, type Rollout } from "../resources/app/app.ts";
import { INFERENCE_FILES, inferManifest } from "../resources/app/infer.ts";
import { name as appName } from "../resources/app/manifest.ts";
import { manifestJsonSchema } from "../resources/app/manifest-file.ts";
import { accountRoutes } from "./account-routes.ts";
import { auditRoutes } from "./audit-routes.ts";
import { changeRoutes } from "./change-routes.ts";
import { channelRoutes } from "./channel-routes.ts";
import { deliveryRoutes } from "./delivery-routes.ts";
import { environmentRoutes } from "./environment-routes.ts";
import { exportRoutes } from "./export-routes.ts";
import { followRollout } from "./follow.ts";
import { gitRoutes } from "./git-routes.ts";
import { holdRoutes } from "./hold-routes.ts";
import { insightRoutes } from "./insight-routes.ts";
import { monitoringRoutes } from "./monitoring-routes.ts";
import { repositoryRoutes } from "./repository-routes.ts";
import { resourceRoutes } from "./resource-routes.ts";
import { rolloutRoutes } from "./rollout-routes.ts";
import { type Route, route } from "./route.ts";
import { statusView } from "./status-view.ts";
import { taskRoutes } from "./task-routes.ts";
import { telemetryRoutes } from "./telemetry-routes.ts";
import { trainRoutes } from "./train-routes.ts";

const environment = appName.describe("Name of the environment, such as production.");
const inEnvironment = z.object({ environment });
const ofApp = z.object({ environment, app: appName });
const ofSecret = ofApp.extend({ secret: z.string() });
const words = z.string().trim().min(1).max(1_000);
/** What is said of a change beside what it is. */
const changeOptions = z.object({
  reason: words.optional(),
  emergency: z
    .boolean()
    .default(false)
    .describe("Past approvals, windows and freezes; reviewed afterwards."),
  overrideBudget: z.boolean().default(false).describe("Although the error budget is spent."),
  acceptContract: z
    .boolean()
    .default(false)
    .describe("Although it takes from the schema what a release still needs."),
});
const SETTING_MAX_CHARS = 64 * 1024;

export function createRoutes(deps: OperationDeps): readonly Route[] {
  const control = composeChangeControl(deps);
  const { operations, access, changes, trains } = control;
  return [
    ...platformRoutes(deps, operations),
    ...environmentRoutes(deps, control),
    ...changeRoutes(deps, control),
    ...trainRoutes(deps, changes, trains, access),
    ...auditRoutes(deps),
    ...deliveryRoutes(deps, access),
    ...accountRoutes(deps, control),
    ...deployRoutes(deps, operations, changes),
    ...rolloutRoutes(deps, operations),
    ...holdRoutes(deps, access),
    ...repositoryRoutes(deps, control),
    ...gitRoutes(deps, access),
    ...appRoutes(operations, changes),
    ...settingRoutes(operations, changes),
    ...telemetryRoutes(deps, operations, control),
    ...monitoringRoutes(deps, operations),
    ...insightRoutes(deps, operations),
    ...exportRoutes(deps, operations, control.declarations),
    ...channelRoutes(deps, control.declarations),
    ...resourceRoutes(deps, control),
    ...journalRoutes(deps),
    ...taskRoutes(deps, control),
  ];
}

function platformRoutes(deps: OperationDeps, operations: AppOperations): Route[] {
  return [
    route({
      method: "GET",
      path: "/healthz",
      summary: "Check that the control plane is up.",
      open: true,
      handle: () => ({ ok: true }),
    }),
    route({
      method: "GET",
      path: "/v1/schema/manifest",
      summary: "JSON Schema of holdfast.yaml.",
      handle: () => manifestJsonSchema(),
    }),
    route({
      method: "GET",
      path: "/v1/status",
      summary: "Get apps, engines and traffic of an environment.",
      query: z.object({ environment: environment.default("production") }),
      handle: ({ query }) => {
        operations.requireEnvironment(query.environment);
        return statusView(deps, query.environment);
      },
    }),
  ];
}

/** What is said of source that is uploaded. */
const deployQuery = z.object({
  folder: z.string().max(200).default("app"),
  commit: z.string().max(64).optional(),
  committedAt: z.coerce.number().int().min(0).optional().describe("ms since the epoch."),
  author: z
    .string()
    .max(320)
    .optional()
    .describe("Who made the commit, by address: whoever it is can't approve it."),
  uncommitted: z
    .stringbool()
    .default(false)
    .describe("It is that commit, and changes that nobody committed."),
  origin: z.string().max(1_000).default(""),
  app: appName
    .optional()
    .describe("Expected name of the app; refused if holdfast.yaml names another."),
  adopt: z.stringbool().default(false),
  ifChanged: z
    .stringbool()
    .default(false)
    .describe("Nothing happens where this very source serves already."),
  reason: words.optional(),
  emergency: z.stringbool().default(false),
  overrideBudget: z.stringbool().default(false),
  acceptContract: z.stringbool().default(false),
});

function deployRoutes(
  deps: OperationDeps,
  operations: AppOperations,
  changes: ChangeOperations,
): Route[] {
  return [
    route({
      method: "POST",
      path: "/v1/environments/{environment}/deploys",
      summary: "Upload source (tar, gzip) and deploy it as the next release.",
      params: inEnvironment,
      takes: "upload",
      query: deployQuery,
      handle: async ({ params, query, actor, request, signal }) => {
        const { digest, bytes } = await deps.sources.add(
          request.body as Readable,
          actor.name,
          signal,
        );
        const { reason, emergency, overrideBudget, acceptContract, author, ...facts } = query;
        const authors = [actor.name, ...(author === undefined ? [] : [author.toLowerCase()])];
        const source = { digest, bytes, ...facts, authors };
        const options = { reason, emergency, overrideBudget, acceptContract };
        return changes.submit(params.environment, { action: "deploy", source }, actor, options);
      },
    }),
    route({
      method: "POST",
      path: "/v1/inference",
      summary: "Detect an app from its files.",
      body: z.object({
        folder: z.string().max(200),
        files: z.partialRecord(z.enum(INFERENCE_FILES), z.string().max(1024 * 1024)),
      }),
      handle: ({ body }) => {
        const { input, inferred, manifest } = inferManifest({
          folder: body.folder,
          files: body.files as Record<string, string>,
        });
        return { input, inferred, manifest };
      },
    }),
    route({
      method: "GET",
      path: "/v1/apps/{environment}/{app}/rollouts/{generation}",
      summary: "Follow a rollout to its end as NDJSON.",
      params: ofApp.extend({ generation: z.coerce.number().int().min(1) }),
      answers: "stream",
      handle: ({ params, signal }) => {
        const app = operations.getApp(params.environment, params.app);
        return followRollout(deps, app.name, params.generation, signal);
      },
    }),
    ...(["rollback", "restart", "scale"] as const).map((verb) => changeRoute(verb, changes)),
  ];
}

function changeRoute(verb: "rollback" | "restart" | "scale", changes: ChangeOperations): Route {
  const path = `/v1/apps/{environment}/{app}/${verb}`;
  const method = "POST";
  const params = ofApp;
  if (verb === "rollback") {
    return route({
      method,
      path,
      params,
      summary: "Roll back to an earlier release, with its code, settings and secrets.",
      body: changeOptions
        .extend({ to: z.number().int().min(1).optional() })
        .default({ emergency: false, overrideBudget: false, acceptContract: false }),
      handle: ({ params, body, actor }) => {
        const { to, ...options } = body;
        const request = { action: verb, app: params.app, to } as const;
        return changes.submit(params.environment, request, actor, options);
      },
    });
  }
  if (verb === "restart") {
    return route({
      method,
      path,
      params,
      summary: "Replace all instances with new ones of the same release.",
      body: changeOptions.default({
        emergency: false,
        overrideBudget: false,
        acceptContract: false,
      }),
      handle: ({ params, body, actor }) =>
        changes.submit(params.environment, { action: verb, app: params.app }, actor, body),
    });
  }
  return route({
    method,
    path,
    params,
    summary: "Set the number of instances of services and workers.",
    body: changeOptions.extend({ counts: z.record(z.string(), z.number()) }),
    handle: ({ params, body, actor }) => {
      const { counts, ...options } = body;
      const request = { action: verb, app: params.app, counts } as const;
      return changes.submit(params.environment, request, actor, options);
    },
  });
}

function appRoutes(operations: AppOperations, changes: ChangeOperations): Route[] {
  return [
    route({
      method: "GET",
      path: "/v1/apps/{environment}/{app}",
      summary: "Get an app: spec and status.",
      params: ofApp,
      handle: ({ params }) => operations.getApp(params.environment, params.app),
    }),
    route({
      method: "GET",
      path: "/v1/apps/{environment}/{app}/releases",
      summary: "List releases of an app, newest first.",
      params: ofApp,
      handle: ({ params }) => {
        const app = operations.getApp(params.environment, params.app);
        return {
          releases: operations
            .releasesOf(app.name)
            .toReversed()
            .map((release) => releaseView(app, release)),
        };
      },
    }),
    route({
      method: "DELETE",
      path: "/v1/apps/{environment}/{app}",
      summary: "Remove an app; its data is kept unless requested by name.",
      params: ofApp,
      query: z.object({
        confirm: z.string().default(""),
        data: z.stringbool().default(false),
        reason: words.optional(),
      }),
      handle: ({ params, query, actor }) =>
        changes.submit(
          params.environment,
          { action: "destroy", app: params.app, confirm: query.confirm, data: query.data },
          actor,
          { reason: query.reason },
        ),
    }),
  ];
}

function releaseView(
  app: App,
  { spec, status, createdAt }: ReturnType<AppOperations["releasesOf"]>[number],
) {
  const rollouts = app.status?.history ?? [];
  const last = rollouts.find(({ placement }: Rollout) => placement.set.release === spec.number);
  const isServing = app.status?.serving?.set.release === spec.number;
  const isWarm = app.status?.warm?.set.release === spec.number;
  return {
    number: spec.number,
    reason: spec.reason,
    createdAt,
    createdBy: spec.createdBy,
    commit: spec.source.commit,
    ...(spec.source.uncommitted && { uncommitted: true }),
    build: status?.phase ?? "building",
    artifact: status?.artifact?.digest,
    configVersion: spec.config.version,
    secrets: spec.secrets,
    state: isServing
      ? "serving"
      : isWarm
        ? "warm"
        : (last?.outcome ?? (status?.phase === "failed" ? "failed" : "not deployed")),
    failure: last?.failure?.reason ?? status?.failure?.reason,
  };
}

function settingRoutes(operations: AppOperations, changes: ChangeOperations): Route[] {
  return [
    route({
      method: "GET",
      path: "/v1/apps/{environment}/{app}/config",
      summary: "Get configured settings and those of the live release.",
      params: ofApp,
      handle: ({ params }) => {
        const name = appResourceName(params.environment, params.app);
        const app = operations.findApp(params.environment, params.app);
        const serving = app?.status?.serving?.set.release;
        const release = operations.releasesOf(name).find(({ spec }) => spec.number === serving);
        return {
          values: operations.settingsOf(name),
          serving: release?.spec.config.values,
          release: serving,
        };
      },
    }),
    route({
      method: "PATCH",
      path: "/v1/apps/{environment}/{app}/config",
      summary: "Set settings, or remove them with null; a deployed app gets a new release.",
      params: ofApp,
      body: changeOptions.extend({
        changes: z.record(z.string(), z.string().max(SETTING_MAX_CHARS).nullable()),
      }),
      handle: ({ params, body, actor }) => {
        const { changes: settings, ...options } = body;
        const request = { action: "config", app: params.app, changes: settings } as const;
        return changes.submit(params.environment, request, actor, options);
      },
    }),
    route({
      method: "GET",
      path: "/v1/apps/{environment}/{app}/secrets",
      summary: "List secret names and versions, without values.",
      params: ofApp,
      handle: ({ params }) => ({
        secrets: operations.secretsOf(appResourceName(params.environment, params.app)),
      }),
    }),
    route({
      method: "PUT",
      path: "/v1/apps/{environment}/{app}/secrets/{secret}",
      summary: "Set a secret; a deployed app gets a new release.",
      params: ofSecret,
      body: changeOptions.extend({ value: z.string().transform((value) => new Redacted(value)) }),
      handle: ({ params, body, actor }) => {
        const { value, ...options } = body;
        const { environment: place, app, secret } = params;
        // Sealed now; which version is used is what is changed.
        const version = operations.sealSecret(place, app, secret, value);
        return changes.submit(place, { action: "secret", app, secret, version }, actor, options);
      },
    }),
    route({
      method: "DELETE",
      path: "/v1/apps/{environment}/{app}/secrets/{secret}",
      summary: "Remove a secret; a deployed app gets a new release.",
      params: ofSecret,
      handle: ({ params, actor }) =>
        changes.submit(
          params.environment,
          { action: "secret", app: params.app, secret: params.secret, version: null },
          actor,
        ),
    }),
  ];
}

function journalRoutes(deps: OperationDeps): Route[] {
  return [
    route({
      method: "GET",
      path: "/v1/apps/{environment}/{app}/journal",
      summary: "List the steps that were taken for an app, with the reason of each.",
      params: ofApp,
      query: z.object({
        limit: z.coerce.number().int().min(1).max(1_000).default(100),
        after: z.coerce.number().int().default(0),
      }),
      handle: ({ params, query }) => ({
        entries: deps.journalOf(
          { kind: APP.name, name: appResourceName(params.environment, params.app) },
          query.limit,
          query.after,
        ),
      }),
    }),
  ];
}
