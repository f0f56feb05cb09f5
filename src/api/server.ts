// The HTTP API: on a Unix socket for the owner of the installation, on loopback with bearer tokens
// for everybody else. Every error leaves as application/problem+json.

import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { finished } from "node:stream/promises";
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { z } from "zod";
import { type Action, CHANGE_ACTIONS } from "../kernel/action.ts";
import type { Clock } from "../kernel/clock.ts";
import {
  asHoldfastError,
  type HoldfastError,
  invalid,
  type Problem,
  problemOf,
} from "../kernel/error.ts";
import { Access, type Principal } from "../operations/access.ts";
import { shownNotices } from "../operations/notices.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import { EVERYWHERE } from "../resources/account/account.ts";
import { renderOpenApi } from "./openapi.ts";
import { tokenOf } from "./request-token.ts";
import type { Route } from "./route.ts";
import { accessOf } from "./route-access.ts";
import { createRoutes } from "./routes.ts";

const BODY_MAX_BYTES = 4 * 1024 * 1024;
/** Of deliveries: GitHub's are up to this large. */
const BYTES_MAX_BYTES = 25 * 1024 * 1024;
/** How long somebody who was refused may go on sending. */
const READ_ON_MS = 20_000;
export const NDJSON = "application/x-ndjson";
export const UPLOAD_TYPE = "application/gzip";

export interface ApiServerOptions {
  readonly deps: OperationDeps;
  /** `socket`: whoever can open it is the owner. `tcp`: bearer tokens. `edge`: the same, from outside. */
  readonly access: "socket" | "tcp" | "edge";
  readonly onBug: (error: HoldfastError, request: string) => void;
}

export function createApiServer({ deps, access, onBug }: ApiServerOptions): FastifyInstance {
  const server = fastify({
    bodyLimit: BODY_MAX_BYTES,
    forceCloseConnections: true,
    // Only the edge says who is at its other end.
    trustProxy: access === "edge",
  });
  const routes = createRoutes(deps);
  // An upload is handed on as a stream: it is never whole in memory.
  server.addContentTypeParser(UPLOAD_TYPE, (_request, payload, done) => done(null, payload));
  server.addContentTypeParser(
    "application/x-www-form-urlencoded",
    { parseAs: "string" },
    (_request, body, done) => done(null, formFields(String(body))),
  );
  server.setErrorHandler((error, request, reply) => {
    const known = asApiError(error);
    if (known.actsNext === "developer")
      onBug(known, `${request.method} ${request.routeOptions.url ?? request.url}`);
    // Git shows a token only where it is asked for one.
    if (request.url.startsWith("/git/")) reply.header("www-authenticate", 'Basic realm="Holdfast"');
    sendProblem(reply, known);
  });
  server.setNotFoundHandler((request, reply) =>
    sendProblem(
      reply,
      invalid("route.not_found", `there is nothing at ${request.method} ${request.url}`, {
        hint: "GET /openapi.json lists what there is",
      }),
    ),
  );
  server.get("/openapi.json", () => renderOpenApi(routes));
  const add = (to: FastifyInstance, route: Route): void => {
    to.route({
      method: route.method,
      url: route.path.replaceAll(/\{(\w+)\}/g, ":$1"),
      handler: (request, reply) => handle(route, request, reply, { deps, access }),
    });
  };
  for (const route of routes) {
    const { takes } = route;
    if (takes === "bytes" || takes === "stream")
      addUnparsed(server, takes, (scope) => add(scope, route));
    else add(server, route);
  }
  return server;
}

/** Bodies that nobody but the route itself understands: whole, as they came, or as a stream. */
function addUnparsed(
  server: FastifyInstance,
  takes: "bytes" | "stream",
  add: (server: FastifyInstance) => void,
): void {
  void server.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers();
    if (takes === "bytes")
      scope.addContentTypeParser(
        "*",
        { parseAs: "buffer", bodyLimit: BYTES_MAX_BYTES },
        (_request, body, parsed) => parsed(null, body),
      );
    else scope.addContentTypeParser("*", (_request, payload, parsed) => parsed(null, payload));
    add(scope);
    done();
  });
}

/** Name → value, or values where it is there more than once. */
function formFields(body: string): Record<string, string | string[]> {
  const given = new URLSearchParams(body);
  return Object.fromEntries(
    [...new Set(given.keys())].map((name) => {
      const [first = "", ...others] = given.getAll(name);
      return [name, others.length > 0 ? [first, ...others] : first];
    }),
  );
}

async function handle(
  route: Route,
  request: FastifyRequest,
  reply: FastifyReply,
  { deps, access }: Pick<ApiServerOptions, "deps" | "access">,
): Promise<unknown> {
  const gate = new Access(deps);
  const params = parse(route.params, request.params, "path");
  const query = parse(route.query, request.query, "query");
  // Who is not known learns nothing about what the body should be.
  const known = route.open ? NOBODY : authenticate(request, gate, access);
  const body = route.takes ? undefined : parse(route.body, request.body ?? undefined, "body");
  const named = [
    declared(route.body, body),
    declared(route.query, query),
    declared(route.params, params),
  ];
  const admit = (actor: Principal): Principal => {
    if (!route.open) assertMay(route, actor, gate, Object.assign({}, ...named));
    return actor;
  };
  const actor = admit(known);
  const current = (): Principal =>
    route.open ? NOBODY : admit(authenticate(request, gate, access));
  const notices = route.open ? undefined : noticesText(deps);
  if (notices !== undefined) reply.header(NOTICES_HEADER, notices);
  const gone = new AbortController();
  reply.raw.on("close", () => gone.abort());
  const answer = await route.handle({
    params,
    query,
    body,
    actor,
    current,
    request,
    reply,
    signal: gone.signal,
  });
  if (answer instanceof Readable)
    return reply.type(NDJSON).send(whileAdmitted(answer, deps.clock, current));
  return answer;
}

const RECHECK_MS = 5_000;

/** A stream goes on while who reads it still may: a token that is revoked or expires ends it. */
function whileAdmitted(stream: Readable, clock: Clock, check: () => unknown): Readable {
  const look = (): void => {
    try {
      check();
      cancel = clock.after(RECHECK_MS, look);
    } catch (error) {
      stream.destroy(error instanceof Error ? error : undefined);
    }
  };
  let cancel = clock.after(RECHECK_MS, look);
  return stream.once("close", () => cancel());
}

/** What whoever asks anything is to be shown beside the answer: JSON in base64url. */
const NOTICES_HEADER = "holdfast-notices";
/** Clients and proxies take 16 KB of headers in all. */
const NOTICES_MAX_BYTES = 4_096;

function noticesText(deps: OperationDeps): string | undefined {
  const notices = [...shownNotices(deps)];
  while (notices.length > 0) {
    const text = Buffer.from(JSON.stringify(notices)).toString("base64url");
    if (text.length <= NOTICES_MAX_BYTES) return text;
    notices.pop();
  }
  return undefined;
}

const NOBODY: Principal = { name: "anonymous", from: "", kind: "service", grants: [] };

function authenticate(
  request: FastifyRequest,
  gate: Access,
  access: ApiServerOptions["access"],
): Principal {
  if (access === "socket") return gate.owner("socket");
  return gate.holderOf(tokenOf(request)?.reveal(), request.ip ?? "edge");
}

// Only what a route declares says where it looks: a field that it takes unseen has no say.
function declared(schema: z.ZodType | undefined, value: unknown): Record<string, unknown> {
  if (schema instanceof z.ZodDefault) return declared(schema.unwrap() as z.ZodType, value);
  if (!(schema instanceof z.ZodObject) || typeof value !== "object" || value === null) return {};
  return Object.fromEntries(Object.entries(value).filter(([key]) => key in schema.shape));
}

// Of the environment that the request names; of the installation where it names none.
function assertMay(
  route: Route,
  actor: Principal,
  gate: Access,
  named: Readonly<Record<string, unknown>>,
): void {
  const action = accessOf(route);
  if (action === "anybody") return;
  const environment = named["environment"];
  const app = named["app"];
  const place =
    typeof environment === "string" && environment !== EVERYWHERE ? environment : undefined;
  const of = typeof app === "string" ? app : undefined;
  // Who may only ask may call too: it becomes a change that waits. And what policies say of a change
  // is decided where it is known what the change is.
  const isChange = (CHANGE_ACTIONS as readonly string[]).includes(action);
  const holds = (one: Action): boolean => place !== undefined && gate.holds(actor, one, place);
  if (isChange && (holds(action) || holds("ask"))) return;
  const answer = gate.decide(actor, action, place, of);
  if (answer.allowed) return;
  const refusal = gate.refusal(actor, action, place, answer);
  if (route.method !== "GET") gate.remember(actor, action, place, of, refusal.message);
  throw refusal;
}

function parse(schema: z.ZodType | undefined, value: unknown, where: string): unknown {
  if (!schema) return undefined;
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const details = result.error.issues.map((issue) => {
    // Of a key the reason is one further in.
    const { message } = (issue.code === "invalid_key" ? issue.issues[0] : undefined) ?? issue;
    return `${issue.path.join(".") || where}: ${message}`;
  });
  throw invalid("request.invalid", `the ${where} is not valid: ${details.join("; ")}`, {
    hint: "GET /openapi.json says what it takes",
  });
}

function asApiError(error: unknown): HoldfastError {
  const { statusCode, message } = error as { statusCode?: number; message?: string };
  const known = asHoldfastError(error);
  if (known.actsNext === "developer" && statusCode !== undefined && statusCode < 500) {
    return invalid("request.invalid", message ?? "the request is not valid", {
      hint: "GET /openapi.json says what it takes",
    });
  }
  return known;
}

function sendProblem(reply: FastifyReply, error: HoldfastError): FastifyReply {
  const problem = problemOf(error);
  const isPrometheus = reply.request.url.startsWith("/v1/prometheus/");
  const text = JSON.stringify(isPrometheus ? prometheusError(problem) : problem);
  if (problem.status === 503) reply.header("retry-after", "2");
  reply.code(problem.status).type(isPrometheus ? "application/json" : "application/problem+json");
  const { raw } = reply.request;
  if (raw.complete || raw.destroyed) return reply.send(text);
  return reply
    .headers({ connection: "close", "content-length": Buffer.byteLength(text) })
    .send(Readable.from(sayAndReadOn(text, raw)));
}

// Programs that speak to a Prometheus look for its own shape of an error; ours is beside it.
function prometheusError(problem: Problem): Record<string, unknown> {
  const errorType = problem.status < 500 ? "bad_data" : "unavailable";
  return { ...problem, status: "error", errorType, error: problem.detail };
}

// Who is refused while he still sends must be able to read why: a connection that is closed with
// something unread in it is reset, and what was answered is lost with it.
async function* sayAndReadOn(text: string, request: IncomingMessage): AsyncGenerator<string> {
  yield text;
  await finished(request.resume(), { signal: AbortSignal.timeout(READ_ON_MS) }).catch(
    () => undefined,
  );
}
