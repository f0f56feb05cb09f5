// `git push` to Holdfast itself: repositories over HTTP, one for each app of an environment.

import type { Readable } from "node:stream";
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { invalid } from "../kernel/error.ts";
import type { Access, Principal } from "../operations/access.ts";
import { findEnvironment } from "../operations/environment-view.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import { name as appName } from "../resources/app/manifest.ts";
import { tokenOf } from "./request-token.ts";
import { type Route, type RouteContext, route } from "./route.ts";

const repository = z
  .string()
  .regex(/^[a-z0-9-]+\.git$/, { message: "must be the name of an app and .git" })
  .transform((name) => name.replace(/\.git$/, ""))
  .pipe(appName);
const params = z.object({ environment: appName, repository });
const SERVICES = ["git-receive-pack", "git-upload-pack"] as const;

type Service = (typeof SERVICES)[number];
interface Place {
  readonly environment: string;
  readonly repository: string;
}

export function gitRoutes(deps: OperationDeps, access: Access): Route[] {
  return [
    route({
      method: "GET",
      path: "/git/{environment}/{repository}/info/refs",
      summary: "Git: list refs of a repository.",
      params,
      query: z.object({ service: z.enum(SERVICES) }),
      answers: "bytes",
      handle: async (context) => {
        const { service } = context.query;
        await admit(deps, access, context.params, context.actor, service);
        return serve(deps, context, "info/refs", `service=${service}`);
      },
    }),
    ...SERVICES.map((service) =>
      route({
        method: "POST",
        path: `/git/{environment}/{repository}/${service}`,
        summary:
          service === "git-receive-pack"
            ? "Git: receive a push and deploy it."
            : "Git: send a fetch.",
        params,
        takes: "stream",
        answers: "bytes",
        handle: async (context) => {
          await admit(deps, access, context.params, context.actor, service);
          return serve(deps, context, service, "");
        },
      }),
    ),
  ];
}

// Who may deploy there, or ask for it: source is nobody else's business either.
async function admit(
  deps: OperationDeps,
  access: Access,
  { environment, repository: app }: Place,
  actor: Principal,
  service: Service,
): Promise<void> {
  const place = findEnvironment(deps.store, environment);
  const mayAsk = place.rules.protected && access.decide(actor, "ask", environment, app).allowed;
  if (!mayAsk) {
    const answer = access.decide(actor, "deploy", environment, app);
    if (!answer.allowed) {
      const refusal = access.refusal(actor, "deploy", environment, answer);
      access.remember(actor, "deploy", environment, app, refusal.message);
      throw refusal;
    }
  }
  if (service === "git-receive-pack") return deps.git.ensure(environment, app);
  if (deps.git.has(environment, app)) return;
  throw invalid("git.not_found", `nothing of ${app} was pushed to ${environment} yet`, {
    hint: `git push <this address> main`,
  });
}

async function serve(
  deps: OperationDeps,
  { params: place, request, reply, actor, signal }: RouteContext<Place, unknown, unknown>,
  path: string,
  query: string,
) {
  const token = tokenOf(request);
  if (!token)
    throw invalid("api.unauthorized", "git shows a token as its password", {
      hint: "holdfast token create <account>; over the Unix socket there is no git",
    });
  const header = (name: string): string | undefined => {
    const value = request.headers[name];
    return Array.isArray(value) ? value[0] : value;
  };
  const answer = await deps.git.serve({
    environment: place.environment,
    app: place.repository,
    path,
    query,
    method: request.method as "GET" | "POST",
    contentType: header("content-type"),
    contentEncoding: header("content-encoding"),
    protocol: header("git-protocol"),
    body: bodyOf(request),
    actor: actor.name,
    from: request.ip ?? "",
    token,
    signal,
  });
  return reply.code(answer.status).headers(answer.headers).send(answer.body);
}

const bodyOf = (request: FastifyRequest): Readable | undefined =>
  request.method === "POST" ? (request.body as Readable) : undefined;
