// The telemetry process's side that answers (HTTP on a Unix socket): the control plane asks here, so
// that no question slows it or the edge. Questions are POST with a JSON body.

import { chmodSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { asHoldfastError, problemOf } from "../kernel/error.ts";
import type { LogFilter, LogLine } from "../kernel/signal.ts";
import type { LogQuery } from "./log-query.ts";

export interface TelemetryServerOptions {
  readonly socket: string;
  readonly logs: LogQuery;
  /** Path → answer, for all that is not a stream. */
  readonly answers: Readonly<Record<string, (question: never) => Promise<unknown>>>;
}

const BODY_MAX_CHARS = 1024 * 1024;

export async function startTelemetryServer(options: TelemetryServerOptions): Promise<void> {
  const server = createServer((request, response) => {
    answer(options, request, response).catch((error: unknown) => {
      const known = asHoldfastError(error);
      if (!response.headersSent)
        response.writeHead(problemOf(known).status, { "content-type": "application/problem+json" });
      response.end(JSON.stringify(problemOf(known)));
    });
  });
  rmSync(options.socket, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(options.socket, resolve);
  });
  chmodSync(options.socket, 0o600);
}

async function answer(
  options: TelemetryServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const path = request.url ?? "/";
  const question = await bodyOf(request);
  if (path === "/logs") {
    const { follow, ...filter } = question as LogFilter & { follow: boolean };
    return answerLogs(options.logs, filter, follow, request, response);
  }
  const find = options.answers[path];
  if (!find) return void response.writeHead(404).end();
  const found = await find(question as never);
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify(found));
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  let text = "";
  for await (const chunk of request.setEncoding("utf8")) {
    text += chunk;
    if (text.length > BODY_MAX_CHARS) throw new Error("the question is too long");
  }
  return text === "" ? {} : JSON.parse(text);
}

async function answerLogs(
  logs: LogQuery,
  filter: LogFilter,
  follow: boolean,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const stream = new LineStream(response);
  // What is loaded between the look back and the first that comes is in neither, so following
  // begins first, and is held back until the look back was written.
  let held: LogLine[] | undefined = [];
  const unfollow = follow
    ? logs.follow(filter, (lines) => {
        if (!held) stream.write(lines);
        else if (held.length < HELD_MAX) held.push(...lines);
      })
    : () => undefined;
  request.on("close", unfollow);
  response.on("close", unfollow);
  const past = await logs.find(filter);
  response.writeHead(200, { "content-type": "application/x-ndjson" }).flushHeaders();
  stream.write(past, Number.POSITIVE_INFINITY);
  if (!follow) return void response.end();
  const last = past.at(-1)?.time ?? 0;
  stream.write(held.filter(({ time }) => time > last));
  held = undefined;
}

/** What a reader that follows has not read yet may be this much; the rest is left out, and said. */
const UNREAD_MAX_BYTES = 64 * 1024 ** 2;
const HELD_MAX = 50_000;

/** Lines to a reader who may stand still: an app that writes on must not fill the memory of telemetry. */
export class LineStream {
  readonly #response: ServerResponse;
  #leftOut = 0;

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  write(lines: readonly LogLine[], unreadMax = UNREAD_MAX_BYTES): void {
    for (const line of lines) {
      if (this.#response.writableLength > unreadMax) {
        this.#leftOut += 1;
        continue;
      }
      if (this.#leftOut > 0) {
        const text = `… ${this.#leftOut} lines left out: they were not read as fast as they came`;
        this.#response.write(`${JSON.stringify({ ...line, level: "warn", text })}\n`);
        this.#leftOut = 0;
      }
      this.#response.write(`${JSON.stringify(line)}\n`);
    }
  }
}
