// Who may call what: the action that each route stands for. What only looks is `view`, of the
// environment that it is about; a route of no environment is about the installation.

import type { Action } from "../kernel/action.ts";
import type { Route } from "./route.ts";

/** `anybody`: whoever has a token at all; the route itself decides by what it finds. */
export type RouteAccess = Action | "anybody";

const APP = "/v1/apps/{environment}/{app}";
const ENVIRONMENT = "/v1/environments/{environment}";

export const WRITES: Readonly<Record<string, RouteAccess>> = {
  "POST /v1/inference": "anybody",
  "POST /v1/query": "view",
  "POST /v1/plan": "anybody",
  "POST /v1/apply": "anybody",
  [`POST ${ENVIRONMENT}/deploys`]: "deploy",
  [`POST ${ENVIRONMENT}/promotions`]: "promote",
  [`POST ${ENVIRONMENT}/trains`]: "promote",
  [`PUT ${ENVIRONMENT}`]: "environment",
  [`PUT ${ENVIRONMENT}/policy`]: "policy",
  [`POST ${ENVIRONMENT}/policy/test`]: "view",
  [`PATCH ${ENVIRONMENT}/telemetry`]: "telemetry",
  [`PUT ${ENVIRONMENT}/exports/{export}`]: "telemetry",
  [`DELETE ${ENVIRONMENT}/exports/{export}`]: "telemetry",
  [`POST ${ENVIRONMENT}/exports/{export}/test`]: "telemetry",
  [`POST ${APP}/rollback`]: "rollback",
  [`POST ${APP}/restart`]: "restart",
  [`POST ${APP}/scale`]: "scale",
  [`PATCH ${APP}/config`]: "config",
  [`PUT ${APP}/secrets/{secret}`]: "secret",
  [`DELETE ${APP}/secrets/{secret}`]: "secret",
  [`DELETE ${APP}`]: "destroy",
  [`POST ${APP}/tasks`]: "run",
  [`POST ${APP}/tasks/{task}/input`]: "run",
  [`DELETE ${APP}/tasks/{task}`]: "run",
  [`POST ${APP}/rollout/pause`]: "steer",
  [`POST ${APP}/rollout/resume`]: "steer",
  [`POST ${APP}/rollout/promote`]: "steer",
  [`POST ${APP}/rollout/abort`]: "steer",
  [`POST ${APP}/hold/release`]: "steer",
  "PUT /v1/repositories/{repository}": "anybody",
  "DELETE /v1/repositories/{repository}": "anybody",
  "POST /v1/webhooks/{repository}": "anybody",
  "POST /git/{environment}/{repository}/git-receive-pack": "anybody",
  "POST /git/{environment}/{repository}/git-upload-pack": "anybody",
  "POST /v1/silences": "silence",
  "DELETE /v1/silences/{silence}": "silence",
  "PUT /v1/channels/{channel}": "telemetry",
  "DELETE /v1/channels/{channel}": "telemetry",
  "POST /v1/channels/{channel}/test": "telemetry",
  "POST /v1/changes/{number}/approve": "anybody",
  "POST /v1/changes/{number}/reject": "anybody",
  "POST /v1/changes/{number}/withdraw": "anybody",
  "POST /v1/changes/{number}/review": "anybody",
  "PUT /v1/windows/{environment}/{window}": "freeze",
  "DELETE /v1/windows/{environment}/{window}": "freeze",
  "PUT /v1/accounts/{account}": "account",
  "DELETE /v1/accounts/{account}": "account",
  "POST /v1/accounts/{account}/tokens": "account",
  // Of one's own account; those of others take the right to manage accounts.
  "POST /v1/tokens": "anybody",
  "POST /v1/tokens/accept": "anybody",
  "DELETE /v1/tokens/{token}": "anybody",
};

/** What a person sees of themselves, and what is the same for everybody. */
const LOOKS: Readonly<Record<string, RouteAccess>> = {
  "/v1/schema/manifest": "anybody",
  "/v1/whoami": "anybody",
  "/v1/kinds": "anybody",
  "/v1/audit": "audit",
  "/v1/audit/verify": "audit",
  "/v1/audit/export": "audit",
  // Each of those that one may see.
  "/v1/environments": "anybody",
  "/v1/changes": "anybody",
  "/v1/changes/{number}": "anybody",
  "/v1/windows": "anybody",
  "/v1/delivery": "anybody",
  "/v1/holds": "anybody",
  "/v1/repositories": "anybody",
  "/v1/repositories/{repository}": "anybody",
  "/git/{environment}/{repository}/info/refs": "anybody",
  "/v1/trains": "anybody",
  "/v1/trains/{number}": "anybody",
};

/** @throws where a route that writes is not in the table */
export function accessOf({ method, path }: Pick<Route, "method" | "path">): RouteAccess {
  // Of any kind: what one may do is decided by the resource, not by the path.
  if (/^\/v1\/(resources|watch)\//.test(path)) return "anybody";
  if (method === "GET") return LOOKS[path] ?? "view";
  if (method === "POST" && path.startsWith("/v1/prometheus/")) return "view";
  const found = WRITES[`${method} ${path}`];
  if (found) return found;
  throw new Error(`${method} ${path} has no place in the table of who may call what`);
}
