// One message to one place, once: OTLP over HTTP, as protobuf, gzipped.

import { messageOf } from "../../kernel/error.ts";
import type { ExportTarget } from "../../kernel/signal.ts";
import type { OtlpSignal } from "../otlp/messages.ts";

export type SendOutcome =
  | { readonly is: "taken" }
  | { readonly is: "refused"; readonly why: string }
  | { readonly is: "later"; readonly why: string; readonly afterMs?: number };

const TIMEOUT_MS = 20_000;
const AFTER_MAX_MS = 60_000;
/** As the OTLP specification names them. */
const RETRYABLE = [408, 429, 502, 503, 504];
const ANSWER_MAX_CHARS = 300;

export async function sendTo(
  { endpoint, headers = {} }: Pick<ExportTarget, "endpoint" | "headers">,
  signal: OtlpSignal,
  body: Uint8Array,
  abort: AbortSignal = AbortSignal.timeout(TIMEOUT_MS),
): Promise<SendOutcome> {
  try {
    const answer = await fetch(`${endpoint.replace(/\/$/, "")}/v1/${signal}`, {
      method: "POST",
      headers: {
        ...headers,
        "content-type": "application/x-protobuf",
        "content-encoding": "gzip",
      },
      body: Buffer.from(body),
      redirect: "manual",
      signal: AbortSignal.any([abort, AbortSignal.timeout(TIMEOUT_MS)]),
    });
    const text = await beginningOf(answer);
    if (answer.ok) return { is: "taken" };
    const why = `${signal}: it answered ${answer.status}${text === "" ? "" : `: ${text}`}`;
    if (!RETRYABLE.includes(answer.status)) return { is: "refused", why };
    const afterMs = Math.min(Number(answer.headers.get("retry-after")) * 1_000, AFTER_MAX_MS);
    return { is: "later", why, ...(afterMs > 0 && { afterMs }) };
  } catch (error) {
    const { cause } = error as { cause?: unknown };
    return { is: "later", why: `${signal}: ${messageOf(cause ?? error)}` };
  }
}

/** However much it says. */
async function beginningOf({ body }: Response): Promise<string> {
  let text = "";
  for await (const chunk of body ?? []) {
    text += Buffer.from(chunk as Uint8Array).toString("utf8");
    if (text.length > ANSWER_MAX_CHARS) break;
  }
  return text.slice(0, ANSWER_MAX_CHARS).trim();
}
