// A route is a value: the server is made of them, and so is the OpenAPI document.

import type { Readable } from "node:stream";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { z } from "zod";
import type { Principal } from "../operations/access.ts";

/** Lines of JSON, one for each event, as they come. */
export interface Lines<Event> extends Readable {
  /** For types only; never there. */
  readonly event?: Event;
}

export interface RouteContext<Params, Query, Body> {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  readonly actor: Principal;
  /** The same, as they are by now: for what goes on for long. @throws where they may no longer */
  readonly current: () => Principal;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  /** Fires when the caller has gone. */
  readonly signal: AbortSignal;
}

export interface Route<
  P extends z.ZodType = z.ZodType,
  Q extends z.ZodType = z.ZodType,
  B extends z.ZodType = z.ZodType,
> {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** `/v1/apps/{environment}/{app}` */
  readonly path: string;
  readonly summary: string;
  readonly params?: P;
  readonly query?: Q;
  readonly body?: B;
  /**
   * Shape of the answer, where the type of `handle` does not say it. stream: NDJSON; bytes: what is no
   * JSON, such as git's own.
   */
  readonly answers?: z.ZodType | "stream" | "bytes";
  /** upload: a tar archive; bytes: the body as it came; stream: the same, as it comes. */
  readonly takes?: "upload" | "bytes" | "stream";
  readonly open?: true;
  readonly handle: (context: RouteContext<z.output<P>, z.output<Q>, z.output<B>>) => unknown;
}

/** Keeps the types of the schemas together with the handler. */
export function route<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType>(
  value: Route<P, Q, B>,
): Route {
  return value as unknown as Route;
}
