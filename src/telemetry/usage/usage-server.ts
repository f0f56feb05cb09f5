// Where the edge hands over what browsers report: HTTP on a Unix socket that only it can reach.

import { chmodSync, chownSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { asHoldfastError } from "../../kernel/error.ts";
import { UsageIntake, type UsageIntakeOptions } from "./usage-intake.ts";

const BODY_MAX_CHARS = 64 * 1024;

export async function listenForUsage(
  options: UsageIntakeOptions & {
    readonly socket: string;
    readonly edgeUid: number | undefined;
    readonly onProblem: (what: string, error: unknown) => void;
  },
): Promise<Server> {
  const intake = new UsageIntake(options);
  const server = createServer((request, response) => {
    take(intake, request)
      .then(() => response.writeHead(204).end())
      .catch((error: unknown) => {
        const { actsNext, message } = asHoldfastError(error);
        const isTheirs = actsNext === "caller";
        if (!isTheirs) options.onProblem("a report of a browser could not be kept", error);
        response.writeHead(isTheirs ? 400 : 503, { "content-type": "text/plain" });
        response.end(isTheirs ? `${message}\n` : "it could not be kept\n");
      });
  });
  rmSync(options.socket, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(options.socket, resolve);
  });
  chmodSync(options.socket, 0o600);
  if (options.edgeUid !== undefined) chownSync(options.socket, options.edgeUid, 0);
  return server;
}

async function take(intake: UsageIntake, request: IncomingMessage): Promise<void> {
  const of = (name: string): string => String(request.headers[name] ?? "");
  let body = "";
  for await (const chunk of request.setEncoding("utf8")) {
    body += chunk;
    if (body.length > BODY_MAX_CHARS) throw new Error("the report is too long");
  }
  // Who says that they want no such thing is not counted, whatever sent the report.
  if (of("sec-gpc") === "1" || of("dnt") === "1") return;
  const address = of("x-real-ip");
  await intake.take({ pool: of("x-holdfast-pool"), address, userAgent: of("user-agent") }, body);
}
