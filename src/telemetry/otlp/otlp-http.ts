// OTLP over HTTP: POST /v1/traces, /v1/logs, /v1/metrics; protobuf or JSON, gzip or plain.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { asHoldfastError, type HoldfastError, invalid, messageOf } from "../../kernel/error.ts";
import { type Encoding, encodePartialSuccess, encodeStatus, type OtlpSignal } from "./messages.ts";
import type { OtlpIntake, Refused } from "./otlp-intake.ts";

export const MESSAGE_MAX_BYTES = 16 * 1024 ** 2;
const PATHS: Readonly<Record<string, OtlpSignal>> = {
  "/v1/traces": "traces",
  "/v1/logs": "logs",
  "/v1/metrics": "metrics",
};
const REQUEST_TIMEOUT_MS = 30_000;
const HEADERS_TIMEOUT_MS = 10_000;
const RETRY_AFTER_S = 5;
const unzip = promisify(gunzip);

/** HTTP status and gRPC status code of a refusal. */
export function statusesOf({ code, actsNext }: HoldfastError): { http: number; grpc: number } {
  if (code === "otlp.unauthorized") return { http: 401, grpc: 16 };
  if (code === "otlp.too_large") return { http: 413, grpc: 8 };
  if (code === "otlp.too_fast") return { http: 429, grpc: 8 };
  if (code === "otlp.unknown_path") return { http: 404, grpc: 12 };
  if (code === "otlp.wrong_type") return { http: 415, grpc: 3 };
  return actsNext === "caller" ? { http: 400, grpc: 3 } : { http: 503, grpc: 14 };
}

/** Beside OTLP, whoever has the token for it reads what was counted: `GET /metrics`. */
export interface Counted {
  readonly isScraper: (authorization: string | undefined) => boolean;
  readonly render: () => string;
}

export async function listenForOtlpHttp(
  intake: OtlpIntake,
  counted: Counted,
  address: { readonly host: string; readonly port: number },
): Promise<Server> {
  const server = createServer(
    { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: HEADERS_TIMEOUT_MS },
    (request, response) => {
      if (request.url === "/metrics") answerScrape(counted, request, response);
      else void answer(intake, request, response);
    },
  );
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(address.port, address.host, resolve);
  });
  return server;
}

function answerScrape(
  { isScraper, render }: Counted,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  if (!isScraper(request.headers.authorization)) return void response.writeHead(401).end();
  try {
    const text = render();
    response.writeHead(200, { "content-type": "text/plain; version=0.0.4" }).end(text);
  } catch (error) {
    response.writeHead(500, { "content-type": "text/plain" }).end(`${messageOf(error)}\n`);
  }
}

async function answer(
  intake: OtlpIntake,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const encoding = encodingOf(request) ?? "json";
  const type = encoding === "json" ? "application/json" : "application/x-protobuf";
  try {
    const signal = signalOf(request);
    const refused = await take(intake, signal, request);
    response.writeHead(200, { "content-type": type });
    response.end(encodePartialSuccess(signal, encoding, refused));
  } catch (error) {
    const known = asHoldfastError(error);
    const { http, grpc } = statusesOf(known);
    response.writeHead(http, {
      "content-type": type,
      ...(http === 429 || http === 503 ? { "retry-after": String(RETRY_AFTER_S) } : {}),
      // What is left of the body is not read.
      ...(request.complete ? {} : { connection: "close" }),
    });
    response.end(encodeStatus(encoding, grpc, known.message));
  }
}

function signalOf({ method, url = "" }: IncomingMessage): OtlpSignal {
  const signal = PATHS[url.split("?")[0] ?? ""];
  if (signal !== undefined && method === "POST") return signal;
  throw invalid("otlp.unknown_path", `${method} ${url} is not OTLP`, {
    hint: `POST ${Object.keys(PATHS).join(", ")}`,
  });
}

async function take(
  intake: OtlpIntake,
  signal: OtlpSignal,
  request: IncomingMessage,
): Promise<Refused | undefined> {
  const encoding = encodingOf(request);
  if (encoding === undefined)
    throw invalid(
      "otlp.wrong_type",
      `content-type ${request.headers["content-type"]} is not OTLP`,
      {
        hint: "application/x-protobuf or application/json",
      },
    );
  const packed = packingOf(request);
  if (packed !== "" && packed !== "gzip")
    throw invalid("otlp.wrong_type", `content-encoding ${packed} is not understood`, {
      hint: "gzip, or none",
    });
  const sender = intake.senderOf(request.headers.authorization);
  return intake.take(sender, signal, encoding, await bodyOf(request));
}

function encodingOf({ headers }: IncomingMessage): Encoding | undefined {
  const type = (headers["content-type"] ?? "").split(";")[0]?.trim().toLowerCase();
  return type === "application/x-protobuf"
    ? "protobuf"
    : type === "application/json"
      ? "json"
      : undefined;
}

/** How the body is packed; empty: it is not. */
function packingOf({ headers }: IncomingMessage): string {
  const packing = (headers["content-encoding"] ?? "").trim().toLowerCase();
  return packing === "identity" ? "" : packing;
}

async function bodyOf(request: IncomingMessage): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MESSAGE_MAX_BYTES) throw tooLarge();
    chunks.push(chunk);
  }
  const body = Buffer.concat(chunks);
  if (packingOf(request) === "") return body;
  return unzip(body, { maxOutputLength: MESSAGE_MAX_BYTES }).catch((error: Error) => {
    if ("code" in error && error.code === "ERR_BUFFER_TOO_LARGE") throw tooLarge();
    throw invalid("otlp.malformed", `the body is not gzip: ${error.message}`, {
      hint: "leave out content-encoding, or compress",
    });
  });
}

const tooLarge = (): HoldfastError =>
  invalid("otlp.too_large", `a message may have ${MESSAGE_MAX_BYTES} bytes, unpacked`, {
    hint: "send smaller batches: OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
  });
