// The typed client of the API: over the Unix socket where we are the owner of the installation,
// over HTTP with a bearer token otherwise.

import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";
import type { Readable } from "node:stream";
import { json, text } from "node:stream/consumers";
import type { ResourceView } from "../api/resource-routes.ts";
import { errorOfProblem, HoldfastError, type Problem, transient } from "../kernel/error.ts";
import type { NoticeView } from "../operations/notices.ts";
import type { Answers, Events } from "./answers.ts";

export interface ClientOptions {
  readonly socket?: string | undefined;
  readonly url?: string | undefined;
  readonly token?: string | undefined;
  /** For whom we ask: believed only where the edge is believed. */
  readonly forwardedFor?: string | undefined;
}

/** The route that a path leads to: `/v1/apps/${string}/${string}/config` → `.../{app}/config`. */
type Pattern<Path extends string> = Path extends `${infer Before}{${string}}${infer After}`
  ? `${Before}${string}${Pattern<After>}`
  : Path;
type KeyOf<All, Method extends string, Path extends string> = {
  [Key in keyof All]: Key extends `${Method} ${infer Route}`
    ? Path extends Pattern<Route>
      ? Pattern<Route> extends Path
        ? Key
        : never
      : never
    : never;
}[keyof All];
/** The path itself where there is such a route; otherwise what is wrong with it. */
type Known<All, Method extends string, Path extends string> =
  KeyOf<All, Method, Path> extends never ? `there is no route ${Method} ${Path}` : Path;
type Answer<Method extends string, Path extends string> = Answers[KeyOf<Answers, Method, Path>];

type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export class Client {
  readonly #options: ClientOptions;
  readonly #isTls: boolean;
  readonly #agent: HttpAgent;
  #notices: readonly NoticeView[] = [];

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#isTls = options.url?.startsWith("https:") === true;
    // A connection to the socket costs nothing; one elsewhere is kept for the next question.
    const keepAlive = options.url !== undefined;
    this.#agent = this.#isTls ? new HttpsAgent({ keepAlive }) : new HttpAgent({ keepAlive });
  }

  /** What the last answer asked to be shown beside it. */
  get notices(): readonly NoticeView[] {
    return this.#notices;
  }

  get<const Path extends string>(
    path: Known<Answers, "GET", Path>,
    query?: Query,
  ): Promise<Answer<"GET", Path>> {
    return this.#json("GET", path, query);
  }

  post<const Path extends string>(
    path: Known<Answers, "POST", Path>,
    body?: unknown,
  ): Promise<Answer<"POST", Path>> {
    return this.#json("POST", path, undefined, body ?? {});
  }

  put<const Path extends string>(
    path: Known<Answers, "PUT", Path>,
    body?: unknown,
  ): Promise<Answer<"PUT", Path>> {
    return this.#json("PUT", path, undefined, body ?? {});
  }

  patch<const Path extends string>(
    path: Known<Answers, "PATCH", Path>,
    body: unknown,
  ): Promise<Answer<"PATCH", Path>> {
    return this.#json("PATCH", path, undefined, body);
  }

  delete<const Path extends string>(
    path: Known<Answers, "DELETE", Path>,
    query?: Query,
  ): Promise<Answer<"DELETE", Path>> {
    return this.#json("DELETE", path, query);
  }

  async upload<const Path extends string>(
    path: Known<Answers, "POST", Path>,
    archive: Readable,
    query: Query,
    signal?: AbortSignal,
  ): Promise<Answer<"POST", Path>> {
    const answer = await this.#send("POST", path, query, archive, "application/gzip", signal);
    return (await json(answer)) as Answer<"POST", Path>;
  }

  /** Bytes as they come, until they end or the signal fires. */
  async send(path: string, input: Readable, signal: AbortSignal): Promise<void> {
    const type = "application/octet-stream";
    await text(await this.#send("POST", path, undefined, input, type, signal));
  }

  /** NDJSON, event by event, until the other side ends it. */
  async *events<const Path extends string>(
    path: Known<Events, "GET", Path>,
    query?: Query,
    signal?: AbortSignal,
  ): AsyncGenerator<Events[KeyOf<Events, "GET", Path>]> {
    yield* this.#lines<Events[KeyOf<Events, "GET", Path>]>(path, query, signal);
  }

  async *#lines<Event>(path: string, query?: Query, signal?: AbortSignal): AsyncGenerator<Event> {
    const answer = await this.#send("GET", path, query, undefined, undefined, signal);
    let rest = "";
    answer.setEncoding("utf8");
    const chunks = answer[Symbol.asyncIterator]();
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

  // --- resources of a kind that is known only when it runs

  resources(
    kind: string,
    environment?: string,
  ): Promise<{ readonly resources: readonly ResourceView[] }> {
    return this.#json("GET", `/v1/resources/${encodeURIComponent(kind)}`, { environment });
  }

  resource(kind: string, name: string): Promise<ResourceView> {
    return this.#json("GET", resourcePath(kind, name));
  }

  putResource(kind: string, name: string, body: unknown): Promise<Written> {
    return this.#json("PUT", resourcePath(kind, name), undefined, body);
  }

  removeResource(kind: string, name: string, query: Query): Promise<Written> {
    return this.#json("DELETE", resourcePath(kind, name), query);
  }

  /** All of the kind, again whenever one changes. */
  watch(
    kind: string,
    environment: string | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<{ readonly resources: readonly ResourceView[] }> {
    return this.#lines(`/v1/watch/${encodeURIComponent(kind)}`, { environment }, signal);
  }

  async isUp(): Promise<boolean> {
    return this.get("/healthz").then(
      () => true,
      () => false,
    );
  }

  async close(): Promise<void> {
    this.#agent.destroy();
  }

  async #json<Answer>(
    method: string,
    path: string,
    query?: Query,
    body?: unknown,
  ): Promise<Answer> {
    const sent = body === undefined ? undefined : JSON.stringify(body);
    const type = sent === undefined ? undefined : "application/json";
    return (await json(await this.#send(method, path, query, sent, type))) as Answer;
  }

  async #send(
    method: string,
    path: string,
    query: Query = {},
    body?: string | Readable,
    type?: string,
    signal?: AbortSignal,
  ): Promise<IncomingMessage> {
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
    const answer = await this.#ask(url, method, headers, body, signal).catch((cause: unknown) => {
      if (cause instanceof HoldfastError) throw cause;
      throw transient("control_plane.away", "the control plane does not answer", {
        hint: "holdfast up",
        cause,
      });
    });
    this.#notices = noticesOf(answer);
    const status = answer.statusCode ?? 0;
    if (status < 300) return answer;
    const problem = (await json(answer).catch(() => undefined)) as Problem | undefined;
    if (problem?.code !== undefined) throw errorOfProblem(problem);
    // Somebody on the way answered in its place.
    throw transient(
      "control_plane.away",
      `${url.origin} answers ${status}, and not as the control plane does`,
      { hint: "is HOLDFAST_API the address of the API? on the machine itself: holdfast doctor" },
    );
  }

  #ask(
    url: URL,
    method: string,
    headers: Readonly<Record<string, string>>,
    body: string | Readable | undefined,
    signal: AbortSignal | undefined,
  ): Promise<IncomingMessage> {
    const { socket, url: base } = this.#options;
    const request = this.#isTls ? requestHttps : requestHttp;
    return new Promise((resolve, reject) => {
      const asked = request(url, {
        ...{ method, headers, agent: this.#agent },
        ...(base === undefined && socket !== undefined && { socketPath: socket }),
        ...(signal && { signal }),
      });
      // It may be refused before all of it is sent: what is said first counts.
      asked.on("response", resolve).on("error", reject);
      if (body === undefined || typeof body === "string") asked.end(body);
      else body.on("error", (error) => asked.destroy(error)).pipe(asked);
    });
  }
}

/** What became of a write: nothing, or the change that it is and what that waits for. */
type Written = Answers["PUT /v1/resources/notice/{name}"];

const resourcePath = (kind: string, name: string): string =>
  `/v1/resources/${encodeURIComponent(kind)}/${encodeURIComponent(name)}`;

function noticesOf({ headers }: IncomingMessage): readonly NoticeView[] {
  const text = headers["holdfast-notices"];
  if (typeof text !== "string") return [];
  try {
    return JSON.parse(Buffer.from(text, "base64url").toString("utf8")) as readonly NoticeView[];
  } catch {
    // Somebody on the way wrote it; the answer counts all the same.
    return [];
  }
}
