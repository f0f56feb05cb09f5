// The telemetry process: collects on one side, answers questions on the other (HTTP on a Unix
// socket), so that no question slows the control plane or the edge.

import { chmodSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { messageOf } from "../kernel/error.ts";
import type { LogStore } from "./log-store.ts";
import type { RequestLog } from "./request-log.ts";
import type { TrafficQuery } from "./traffic-query.ts";

export interface TelemetryServerOptions {
  readonly socket: string;
  readonly requests: RequestLog;
  readonly logs: LogStore;
  readonly traffic: TrafficQuery;
  readonly now: () => number;
}

export async function startTelemetryServer(options: TelemetryServerOptions): Promise<void> {
  const server = createServer((request, response) => {
    answer(options, request, response).catch((error: unknown) => {
      if (!response.headersSent) response.writeHead(500, { "content-type": "application/json" });
      response.end(JSON.stringify({ detail: messageOf(error) }));
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
  const url = new URL(request.url ?? "/", "http://telemetry");
  if (url.pathname === "/traffic") return answerTraffic(options, url, response);
  if (url.pathname === "/logs") return answerLogs(options, url, request, response);
  const { requests, logs } = options;
  response.writeHead(200, { "content-type": "application/json" });
  response.end(
    JSON.stringify({ ok: true, lostRequests: requests.lost, droppedLines: logs.dropped }),
  );
}

async function answerTraffic(
  { requests, traffic, now }: TelemetryServerOptions,
  url: URL,
  response: ServerResponse,
): Promise<void> {
  const since = now() - Number(url.searchParams.get("sinceMs") ?? 0);
  const rows = await traffic.summarize(requests.filesSince(since), since, now());
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify(rows));
}

function answerLogs(
  { logs, now }: TelemetryServerOptions,
  url: URL,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const text = (key: string): string | undefined => url.searchParams.get(key) ?? undefined;
  const sinceMs = Number(text("sinceMs") ?? 0);
  const filter = {
    app: text("app"),
    service: text("service"),
    instance: text("instance"),
    since: sinceMs > 0 ? now() - sinceMs : 0,
  };
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  const write = (lines: readonly unknown[]): void => {
    for (const line of lines) response.write(`${JSON.stringify(line)}\n`);
  };
  write(logs.read(filter, Number(text("limit") ?? 200)));
  if (text("follow") !== "true") return void response.end();
  const unfollow = logs.follow({ ...filter, since: 0 }, write);
  request.on("close", unfollow);
}
