// One request to an edge, told in full.

import { readFileSync } from "node:fs";
import { type IncomingHttpHeaders, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import type { Installation } from "./installation.ts";

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

export interface Question {
  readonly host: string;
  readonly path?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
  readonly plain?: boolean;
}

export function ask(
  installation: Installation,
  { host, path = "/", method = "GET", headers = {}, body, plain = false }: Question,
): Promise<Answer> {
  const { http, https } = installation.ports;
  const options = {
    host: "127.0.0.1",
    port: plain ? http : https,
    path,
    method,
    agent: false as const,
    headers: { host, ...headers },
  };
  return new Promise((resolve, reject) => {
    const onAnswer = (answer: import("node:http").IncomingMessage): void => {
      let text = "";
      answer.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
      answer.on("end", () =>
        resolve({ status: answer.statusCode ?? 0, headers: answer.headers, text }),
      );
    };
    const asked = plain
      ? requestHttp(options, onAnswer)
      : requestHttps(
          { ...options, ca: readFileSync(installation.caFile), servername: host },
          onAnswer,
        );
    asked.on("error", reject).end(body);
  });
}
