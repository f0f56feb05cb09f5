// The typed client of the API: over the Unix socket where we are the owner of the installation,
// over HTTP with a bearer token otherwise.

import type { Readable } from "node:stream";
import { Agent, type Dispatcher, request } from "undici";
import { errorOfProblem, type Problem, transient } from "../kernel/error.ts";

export interface ClientOptions {
  readonly socket?: string | undefined;
  readonly url?: string | undefined;
  readonly token?: string | undefined;
  /** For whom we ask: believed only where the edge is believed. */
  readonly forwardedFor?: string | undefined;
}

type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export class Client {
  readonly #options: ClientOptions;
  readonly #dispatcher: Agent;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#dispatcher = new Agent({
      ...(options.url === undefined &&
        options.socket !== undefined && { connect: { socketPath: options.socket } }),
      bodyTimeout: 0,
      headersTimeout: 0,
    });
  }

  get<Answer>(path: string, query?: Query): Promise<Answer> {
    return this.#json("GET", path, query);
  }

  post<Answer>(path: string, body?: unknown): Promise<Answer> {
    return this.#json("POST", path, undefined, body ?? {});
  }

  put<Answer>(path: string, body?: unknown): Promise<Answer> {
    return this.#json("PUT", path, undefined, body ?? {});
  }

  patch<Answer>(path: string, body: unknown): Promise<Answer> {
    return this.#json("PATCH", path, undefined, body);
  }

  delete<Answer>(path: string, query?: Query): Promise<Answer> {
    return this.#json("DELETE", path, query);
  }

  async upload<Answer>(
    path: string,
    archive: Readable,
    query: Query,
    signal?: AbortSignal,
  ): Promise<Answer> {
    const { body } = await this.#send("POST", path, query, archive, "application/gzip", signal);
    return (await body.json()) as Answer;
  }

  /** Bytes as they come, until they end or the signal fires. */
  async send(path: string, input: Readable, signal: AbortSignal): Promise<void> {
    const type = "application/octet-stream";
    const { body } = await this.#send("POST", path, undefined, input, type, signal);
    await body.dump();
  }

  /** NDJSON, event by event, until the other side ends it. */
  async *events<Event>(path: string, query?: Query, signal?: AbortSignal): AsyncGenerator<Event> {
    const { body } = await this.#send("GET", path, query, undefined, undefined, signal);
    let rest = "";
    body.setEncoding("utf8");
    const chunks = body[Symbol.asyncIterator]();
    for (;;) {
      const { done, value } = await chunks.next().catch((cause: unknown) => {
        throw transient("control_plane.away", "the control plane ended the connection", {
          hint: "what was begun goes on: holdfast status",
          cause,
        });
      });
      if (done) return;
      const lines = (rest + String(value)).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) if (line) yield JSON.parse(line) as Event;
    }
  }

  async isUp(): Promise<boolean> {
    return this.get("/healthz").then(
      () => true,
      () => false,
    );
  }

  async close(): Promise<void> {
    await this.#dispatcher.destroy();
  }

  async #json<Answer>(
    method: Dispatcher.HttpMethod,
    path: string,
    query?: Query,
    body?: unknown,
  ): Promise<Answer> {
    const sent = body === undefined ? undefined : JSON.stringify(body);
    const answer = await this.#send(
      method,
      path,
      query,
      sent,
      sent === undefined ? undefined : "application/json",
    );
    return (await answer.body.json()) as Answer;
  }

  async #send(
    method: Dispatcher.HttpMethod,
    path: string,
    query: Query = {},
    body?: string | Readable,
    type?: string,
    signal?: AbortSignal,
  ): Promise<Dispatcher.ResponseData> {
    const url = new URL(path, this.#options.url ?? "http://holdfast");
    for (const [key, value] of Object.entries(query))
      if (value !== undefined) url.searchParams.set(key, String(value));
    const headers = {
      ...(type !== undefined && { "content-type": type }),
      ...(this.#options.token !== undefined && { authorization: `Bearer ${this.#options.token}` }),
      ...(this.#options.forwardedFor !== undefined && {
        "x-forwarded-for": this.#options.forwardedFor,
      }),
    };
    const answer = await request(url, {
      method,
      headers,
      dispatcher: this.#dispatcher,
      ...(body !== undefined && { body }),
      ...(signal && { signal }),
    }).catch((cause: unknown) => {
      throw transient("control_plane.away", "the control plane does not answer", {
        hint: "holdfast up",
        cause,
      });
    });
    if (answer.statusCode < 300) return answer;
    const problem = (await answer.body.json().catch(() => undefined)) as Problem | undefined;
    if (problem?.code !== undefined) throw errorOfProblem(problem);
    // Somebody on the way answered in its place.
    throw transient(
      "control_plane.away",
      `${url.origin} answers ${answer.statusCode}, and not as the control plane does`,
      { hint: "is HOLDFAST_API the address of the API? on the machine itself: holdfast doctor" },
    );
  }
}
