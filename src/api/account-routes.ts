// Accounts, their roles and their tokens.

import { z } from "zod";
import { ACTIONS, type Action } from "../kernel/action.ts";
import { invalid } from "../kernel/error.ts";
import { Access, type Principal } from "../operations/access.ts";
import { getAccount, revokeToken } from "../operations/accounts.ts";
import type { ChangeControl } from "../operations/change-control.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import {
  ACCOUNT,
  type AccountSpec,
  accountName,
  EVERYWHERE,
  grantsOf,
  ROLES,
  rolesByEnvironment,
  withinScope,
} from "../resources/account/account.ts";
import { parseDurationMs } from "../resources/app/quantity.ts";
import { ENVIRONMENT } from "../resources/environment/environment.ts";
import { TOKEN, type TokenSpec } from "../resources/token/token.ts";
import { breakGlass, waitingOf } from "./environment-routes.ts";
import { type Route, route } from "./route.ts";

export type { AccountSpec, TokenSpec };

const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;
const DAYS_MAX = 366;
const DAYS_DEFAULT = 90;
const lifetime = z
  .string()
  .default(`${DAYS_DEFAULT}d`)
  .transform((text) => parseDurationMs(text) ?? Number.NaN)
  .refine(
    (ms) => ms >= MINUTE_MS && ms <= DAYS_MAX * DAY_MS,
    `must be a duration from 1m to ${DAYS_MAX}d, such as 12h or 30d`,
  );
const GRANT = new RegExp(`^([a-z*][a-z0-9-]*)/(${ROLES.join("|")})$`);

const ofAccount = z.object({ account: accountName });

export function accountRoutes(
  deps: OperationDeps,
  { controls, declarations }: Pick<ChangeControl, "controls" | "declarations">,
): Route[] {
  const { store } = deps;
  const { tokensOf } = accountsIn(deps);
  return [
    route({
      method: "GET",
      path: "/v1/accounts",
      summary: "List people and service accounts with their roles.",
      handle: () => ({
        accounts: store.list(ACCOUNT).map(({ name, spec }) => ({
          name,
          ...spec,
          tokens: tokensOf(name).filter(({ expired }) => !expired).length,
        })),
      }),
    }),
    route({
      method: "PUT",
      path: "/v1/accounts/{account}",
      summary: "Create an account or change its roles.",
      params: ofAccount,
      body: z.object({
        kind: z.enum(["person", "service"]).optional(),
        roles: rolesByEnvironment.optional(),
        disabled: z.boolean().optional(),
        ...breakGlass,
      }),
      handle: async ({ params, body, actor }) => {
        const { reason, emergency, ...spec } = body;
        const wanted = { kind: ACCOUNT.name, name: params.account, spec };
        const { outcome, spec: written } = await declarations.write(wanted, actor, {
          reason,
          emergency,
        });
        return { name: params.account, ...(written as AccountSpec), ...waitingOf(outcome) };
      },
    }),
    route({
      method: "DELETE",
      path: "/v1/accounts/{account}",
      summary: "Remove an account and its tokens; audit events are kept.",
      params: ofAccount,
      handle: ({ params, actor }) => {
        getAccount(deps, params.account);
        controls.submit({ action: "account", account: params.account, spec: null }, actor);
        return { removed: params.account };
      },
    }),
    ...tokenRoutes(deps),
    ...whoRoutes(deps),
  ];
}

const tokenBody = z.object({
  scope: z
    .array(z.string().regex(GRANT, "must be <environment>/<role>, such as staging/developer"))
    .max(50)
    .default([]),
  expires: lifetime,
  label: z.string().trim().min(1).max(100).default("token"),
});

function tokenRoutes(deps: OperationDeps): Route[] {
  const { store } = deps;
  const { tokensOf, issue } = accountsIn(deps);
  return [
    route({
      method: "GET",
      path: "/v1/tokens",
      summary: "List tokens with account, purpose, expiry and last use, without values.",
      handle: () => ({ tokens: tokensOf() }),
    }),
    route({
      method: "POST",
      path: "/v1/accounts/{account}/tokens",
      summary:
        "Create a token for an account; it is shown once. A person's token cannot approve until that person accepts it.",
      params: ofAccount,
      body: tokenBody,
      handle: ({ params, body, actor }) => {
        const { account } = params;
        const grants = grantsOf(getAccount(deps, account).spec.roles, environmentsIn(store));
        const isOwn = actor.name === account;
        return issue(account, body, grants, actor, isOwn ? {} : { madeBy: actor.name });
      },
    }),
    route({
      method: "POST",
      path: "/v1/tokens",
      summary: "Create a token for the caller, with at most the caller's permissions.",
      body: tokenBody,
      handle: ({ body, actor }) => {
        const { token } = own(actor);
        // One that is not accepted makes none that is.
        const { madeBy } = token.spec;
        const scope = body.scope.length > 0 ? body.scope : [...token.spec.scope];
        const asked = { ...body, scope };
        return issue(
          actor.name,
          asked,
          actor.grants,
          actor,
          madeBy === undefined ? {} : { madeBy },
        );
      },
    }),
    ...holderRoutes(deps),
  ];
}

/** Of one's own tokens. */
function holderRoutes(deps: OperationDeps): Route[] {
  const { store } = deps;
  return [
    route({
      method: "POST",
      path: "/v1/tokens/accept",
      summary: "Accept a token that somebody else created; it is replaced with a new one.",
      handle: ({ actor }) => {
        const { token } = own(actor);
        const { id, spec } = token;
        if (spec.madeBy === undefined)
          throw invalid("token.accepted", "this token is your own already", {
            hint: "holdfast token list",
          });
        const { madeBy: _, ...rest } = spec;
        return store.transaction(() => {
          revokeToken(deps, id, actor);
          const next = deps.newId();
          store.writeSpec(TOKEN, next, rest, { actor, action: "token-accept" });
          return { id: next, ...rest, token: deps.tokens.issue(next).reveal() };
        });
      },
    }),
    route({
      method: "DELETE",
      path: "/v1/tokens/{token}",
      summary: "Revoke a token: the caller's own, or any with the right to manage accounts.",
      params: z.object({ token: z.string().max(100) }),
      handle: ({ params, actor }) => {
        const { spec } = store.find(TOKEN, params.token) ?? {};
        if (spec?.account !== actor.name) new Access(deps).require(actor, "account");
        revokeToken(deps, params.token, actor);
        return { revoked: params.token };
      },
    }),
  ];
}

function own(actor: Principal): Required<Pick<Principal, "token">> {
  if (actor.token) return { token: actor.token };
  throw invalid("token.owner", "the owner of the installation needs no token of an account", {
    hint: "holdfast token create <account>",
  });
}

const environmentsIn = (store: OperationDeps["store"]): string[] =>
  store.list(ENVIRONMENT).map(({ name }) => name);

function accountsIn(deps: OperationDeps) {
  const { store, clock } = deps;
  return {
    tokensOf: (account?: string) =>
      store
        .list(TOKEN)
        .filter(({ spec }) => account === undefined || spec.account === account)
        .map(({ name, spec, createdAt }) => ({
          id: name,
          ...spec,
          createdAt,
          lastUsedAt: deps.tokens.lastUsedAt(name),
          expired: spec.expiresAt <= clock.now(),
        })),
    issue: (
      account: string,
      { scope, expires, label }: z.output<typeof tokenBody>,
      grants: readonly string[],
      actor: Principal,
      more: Pick<TokenSpec, "madeBy">,
    ) => {
      const beyond = scope.filter((one) => withinScope(grants, [one]).length === 0);
      if (beyond.length > 0)
        throw invalid(
          "token.beyond_account",
          `${account} has no ${beyond.join(", ")} to give to a token`,
          {
            hint: `it has: ${grants.filter((grant) => !grant.startsWith(EVERYWHERE)).join(", ") || "no role"}`,
          },
        );
      const id = deps.newId();
      const expiresAt = Math.round(clock.now() + expires);
      const spec: TokenSpec = { account, scope, expiresAt, label, ...more };
      return store.transaction(() => {
        store.writeSpec(TOKEN, id, spec, { actor, action: "token" });
        return { id, ...spec, token: deps.tokens.issue(id).reveal() };
      });
    },
  };
}

function whoRoutes(deps: OperationDeps): Route[] {
  const access = new Access(deps);
  return [
    route({
      method: "GET",
      path: "/v1/whoami",
      summary: "Get the caller's account and permissions.",
      handle: ({ actor }) => ({
        name: actor.name,
        kind: actor.kind,
        grants: actor.grants,
        environments: Object.fromEntries(
          deps.store
            .list(ENVIRONMENT)
            .map(({ name }) => [
              name,
              ACTIONS.filter((action) => access.decide(actor, action, name).allowed),
            ]),
        ),
      }),
    }),
    route({
      method: "POST",
      path: "/v1/environments/{environment}/policy/test",
      summary: "Check whether an account may perform an action, by which rule, and who could.",
      params: z.object({ environment: z.string() }),
      body: z.object({
        account: accountName,
        action: z.enum(ACTIONS as unknown as [Action, ...Action[]]),
        app: z.string().max(30).optional(),
      }),
      handle: ({ params, body }) => {
        const { account, action, app } = body;
        const found = deps.store.find(ACCOUNT, account);
        if (!found)
          throw invalid("account.not_found", `there is no account ${account}`, {
            hint: "holdfast account list",
          });
        const environments = deps.store.list(ENVIRONMENT).map(({ name }) => name);
        const principal: Principal = {
          name: account,
          from: "",
          kind: found.spec.kind,
          grants: grantsOf(found.spec.roles, environments),
        };
        const answer = access.decide(principal, action, params.environment, app);
        return { account, action, ...answer, whoMay: access.whoMay(action, params.environment) };
      },
    }),
  ];
}
