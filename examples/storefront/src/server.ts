// A small HTTP server: routes as values, JSON in and out, and a good end. On SIGTERM it answers what
// it has begun and takes nothing new.

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { failAtStart, failRequest, fault } from "./fault.ts";
import { log } from "./log.ts";
import { continued, failed, inSpan, stopTelemetry } from "./telemetry.ts";

export interface Request {
  readonly url: URL;
  readonly params: readonly string[];
  readonly headers: IncomingMessage["headers"];
  text(): Promise<string>;
}

export interface Answer {
  readonly status: number;
  readonly type?: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Route {
  readonly method: string;
  /** Its groups are the request's params. */
  readonly path: RegExp;
  readonly handle: (request: Request) => Promise<Answer> | Answer;
}

const BODY_MAX_BYTES = 256 * 1024;
/** Longer than any proxy in front keeps a connection: then it is never we who close it under it. */
const KEEP_ALIVE_MS = 90_000;

export const json = (
  status: number,
  value: unknown,
  headers: Record<string, string> = {},
): Answer => ({
  status,
  type: "application/json",
  body: JSON.stringify(value),
  headers,
});

export class BadRequest extends Error {}

/** Routes that every service of the shop has. `check` throws while a store does not answer. */
export function commonRoutes(check: () => Promise<void>): Route[] {
  return [
    {
      method: "GET",
      path: /^\/(?:api\/)?version$/,
      handle: () =>
        json(200, {
          release: process.env["HOLDFAST_RELEASE"] ?? "dev",
          instance: process.env["HOLDFAST_INSTANCE"] ?? "dev",
        }),
    },
    {
      method: "GET",
      path: /^\/(?:api\/)?healthz$/,
      handle: async () => {
        if (fault.kind === "never-healthy")
          return json(503, { ok: false, reason: "STOREFRONT_FAULT: never healthy" });
        try {
          await check();
          return json(200, { ok: true });
        } catch (error) {
          return json(503, {
            ok: false,
            reason: error instanceof Error ? error.message : String(error),
          });
        }
      },
    },
  ];
}

export function serve(routes: readonly Route[], onStop: () => Promise<void>): void {
  failAtStart();
  const server = createServer((request, response) => {
    void continued(request.headers, () => answer(routes, request, response));
  });
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.headersTimeout = KEEP_ALIVE_MS + 5_000;
  const port = Number(process.env["PORT"] ?? 3000);
  server.listen(port, process.env["HOST"] ?? "127.0.0.1", () => log("info", "listening", { port }));
  process.once("SIGTERM", () => {
    log("info", "stopping");
    server.close(() => {
      void onStop()
        .then(stopTelemetry)
        .finally(() => process.exit(0));
    });
    server.closeIdleConnections();
  });
}

async function answer(
  routes: readonly Route[],
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? "/", "http://shop");
  const result = await route(routes, request, url).catch((error: unknown): Answer => {
    if (error instanceof BadRequest) return json(400, { error: error.message });
    log("error", "request failed", {
      path: url.pathname,
      error: error instanceof Error ? error.message : String(error),
    });
    return json(500, { error: "something broke" });
  });
  response.writeHead(result.status, {
    "content-type": result.type ?? "text/html; charset=utf-8",
    "content-length": Buffer.byteLength(result.body),
    ...result.headers,
  });
  response.end(request.method === "HEAD" ? undefined : result.body);
}

async function route(
  routes: readonly Route[],
  request: IncomingMessage,
  url: URL,
): Promise<Answer> {
  const method = request.method === "HEAD" ? "GET" : request.method;
  for (const candidate of routes) {
    const match = candidate.method === method ? candidate.path.exec(url.pathname) : null;
    if (!match) continue;
    const isProbe = url.pathname.endsWith("/healthz");
    const handle = async (): Promise<Answer> => {
      if (!isProbe && (await failRequest()))
        return json(500, { error: "STOREFRONT_FAULT: errors" });
      return candidate.handle({
        url,
        params: match.slice(1).map(decodeURIComponent),
        headers: request.headers,
        text: () => readText(request),
      });
    };
    return isProbe ? handle() : spanned(candidate, request, url, handle);
  }
  return json(404, { error: `nothing at ${request.method} ${url.pathname}` });
}

/** The request as a span, named after its route: so are few names for many paths. */
function spanned(
  { path }: Route,
  request: IncomingMessage,
  url: URL,
  handle: () => Promise<Answer>,
): Promise<Answer> {
  const route = path.source.replaceAll(/\\|^\^|\$$/g, "");
  const attributes = {
    "http.request.method": request.method ?? "",
    "http.route": route,
    "url.path": url.pathname,
  };
  return inSpan(`${request.method} ${route}`, "server", attributes, async (span) => {
    const answer = await handle();
    span.setAttribute("http.response.status_code", answer.status);
    if (answer.status >= 500) failed(span);
    return answer;
  });
}

async function readText(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += (chunk as Buffer).length;
    if (bytes > BODY_MAX_BYTES)
      throw new BadRequest(`the body is larger than ${BODY_MAX_BYTES} bytes`);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString("utf8");
}
