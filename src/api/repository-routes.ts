// Repositories whose pushes are deployed, and the webhooks that tell of them.

import { z } from "zod";
import { refTo } from "../kernel/kind.ts";
import type { ChangeControl } from "../operations/change-control.ts";
import type { Declarations } from "../operations/declared/declarations.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import { PUSHES_KEPT, type PushOperations } from "../operations/push-operations.ts";
import { name as repositoryName } from "../resources/app/manifest.ts";
import type { Push } from "../resources/push/push.ts";
import {
  REPOSITORY,
  type Repository,
  type RepositorySpec,
  repositoryInput,
} from "../resources/repository/repository.ts";
import type { RefusedDeliveries } from "../resources/repository/repository-driver.ts";
import { waitingOf } from "./environment-routes.ts";
import { type Route, route } from "./route.ts";
import { readDelivery, verifyDelivery } from "./webhook.ts";

const ofRepository = z.object({ repository: repositoryName });
const path = "/v1/repositories/{repository}";

export interface PushView {
  readonly number: number;
  readonly commit: string;
  readonly message: string;
  readonly pusher: string;
  readonly receivedAt: number;
  readonly phase: string;
  readonly text: string;
  readonly app?: string;
  readonly release?: number;
  readonly change?: number;
  /** What the provider was told last, and what stands in the way of more. */
  readonly told?: string;
  readonly problem?: string;
}

export interface RepositoryView extends Omit<RepositorySpec, "token"> {
  readonly name: string;
  readonly webhook: string;
  readonly hasToken: boolean;
  readonly last?: PushView;
}

export function repositoryRoutes(
  deps: OperationDeps,
  { pushes, access, declarations }: Pick<ChangeControl, "pushes" | "access" | "declarations">,
): Route[] {
  const refused = deps.refusedDeliveries;
  return [
    route({
      method: "GET",
      path: "/v1/repositories",
      summary: "List connected repositories.",
      handle: ({ actor }) => ({
        repositories: deps.store
          .list(REPOSITORY)
          .filter(({ spec }) => access.decide(actor, "view", spec.environment).allowed)
          .map((one) => viewOf(deps, one, pushes)),
      }),
    }),
    route({
      method: "GET",
      path,
      summary: "Get a repository, its last pushes and their outcome.",
      params: ofRepository,
      handle: ({ params, actor }) => {
        const found = pushes.find(params.repository);
        access.require(actor, "view", found.spec.environment);
        const own = refused.get(found.name);
        return {
          ...viewOf(deps, found, pushes),
          pushes: pushes.of(found.name).slice(0, PUSHES_KEPT).map(pushView),
          ...(own && { refused: own }),
        };
      },
    }),
    connectRoute(deps, pushes, declarations),
    route({
      method: "DELETE",
      path,
      summary: "Disconnect a repository; running releases stay.",
      params: ofRepository,
      handle: async ({ params, actor }) => {
        const found = pushes.find(params.repository);
        const waiting = waitingOf(await declarations.remove(found, actor));
        refused.delete(found.name);
        return { name: found.name, removed: waiting.pending === undefined, ...waiting };
      },
    }),
    webhookRoute(deps, pushes),
  ];
}

function connectRoute(
  deps: OperationDeps,
  pushes: PushOperations,
  declarations: Declarations,
): Route {
  return route({
    method: "PUT",
    path,
    summary: "Connect a repository; the answer has the webhook's address and secret.",
    params: ofRepository,
    body: repositoryInput,
    handle: async ({ params, body, actor, signal }) => {
      const name = params.repository;
      const wanted = { kind: REPOSITORY.name, name, spec: body };
      const { outcome, spec, seen } = await declarations.write(wanted, actor, { signal });
      const waiting = waitingOf(outcome);
      return {
        ...viewOf(deps, { name, spec: spec as RepositorySpec }, pushes),
        head: String(seen["head"]),
        secret: deps.sealed.signingKey(refTo(REPOSITORY, name)),
        reachable: deps.apiHost !== undefined,
        ...waiting,
      };
    },
  });
}

function webhookRoute(deps: OperationDeps, pushes: PushOperations): Route {
  const refused = deps.refusedDeliveries;
  return route({
    method: "POST",
    path: "/v1/webhooks/{repository}",
    summary: "Receive a push webhook of GitHub, GitLab or Gitea, authenticated by its signature.",
    open: true,
    takes: "bytes",
    params: ofRepository,
    handle: ({ params, request, reply }) => {
      const found = pushes.find(params.repository);
      const body = (request.body as Buffer | undefined) ?? Buffer.alloc(0);
      const { provider } = found.spec;
      try {
        const secret = deps.sealed.signingKey(found);
        verifyDelivery(provider, request.headers, body, secret, deps.clock.now());
        const event = readDelivery(provider, request.headers, body);
        if ("ignored" in event) return event;
        const taken = pushes.receive(found, event, request.ip ?? "");
        return reply.code("push" in taken ? 202 : 200).send(taken);
      } catch (error) {
        const count = (refused.get(found.name)?.count ?? 0) + 1;
        const why = error instanceof Error ? error.message : String(error);
        refused.set(found.name, { count, lastAt: deps.clock.now(), why });
        throw error;
      }
    },
  });
}

function viewOf(
  deps: OperationDeps,
  { name, spec }: Pick<Repository, "name" | "spec">,
  pushes: PushOperations,
): RepositoryView {
  const { token, ...open } = spec;
  const [last] = pushes.of(name);
  const { apiUrl } = deps.installation();
  return {
    name,
    ...open,
    webhook: `${String(apiUrl)}/v1/webhooks/${name}`,
    hasToken: token !== undefined,
    ...(last && { last: pushView(last) }),
  };
}

function pushView({ spec, status }: Push): PushView {
  const { number, commit, message, pusher, receivedAt } = spec;
  const { accepted, report } = status ?? {};
  return {
    number,
    commit,
    message,
    pusher,
    receivedAt,
    phase: status?.phase ?? "fetching",
    text: status?.text ?? "",
    ...(accepted && { app: accepted.app }),
    ...(accepted && accepted.release > 0 && { release: accepted.release }),
    ...(accepted?.change !== undefined && { change: accepted.change }),
    ...(report?.told !== undefined && { told: report.told }),
    ...(report?.problem !== undefined && { problem: report.problem }),
  };
}

export type ConnectedView = RepositoryView & {
  readonly head: string;
  readonly secret: string;
  readonly reachable: boolean;
};
export type RepositoryReport = RepositoryView & {
  readonly pushes: readonly PushView[];
  readonly refused?: RefusedDeliveries;
};
