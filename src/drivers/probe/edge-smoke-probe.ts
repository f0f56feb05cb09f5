// Asks a candidate from outside, through the edge, as a user would: with its host, over TLS, and with
// the key that leads there.

import { request } from "node:https";
import { CANDIDATE_HEADER } from "../../kernel/signal.ts";
import type { ProbeResult, SmokeProbe, SmokeQuestion } from "../../resources/app/app-driver.ts";
import { isExpected } from "./http-probe.ts";

const TIMEOUT_MS = 5_000;
const BODY_MAX_CHARS = 1024 * 1024;
const BODY_SHOWN_CHARS = 200;

export class EdgeSmokeProbe implements SmokeProbe {
  readonly #address: { readonly host: string; readonly port: number };

  constructor(address: { readonly host: string; readonly port: number }) {
    this.#address = address;
  }

  ask(question: SmokeQuestion, signal: AbortSignal): Promise<ProbeResult> {
    const { host, path, key } = question;
    const options = {
      ...this.#address,
      path,
      servername: host,
      // Our own edge, on this machine: which certificate it shows is not what is tested here.
      rejectUnauthorized: false,
      headers: { host, "user-agent": "holdfast-smoke", [CANDIDATE_HEADER]: key },
      agent: false,
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
    };
    return new Promise((resolve) => {
      const asked = request(options, (answer) => {
        let body = "";
        answer.setEncoding("utf8").on("data", (text: string) => {
          if (body.length < BODY_MAX_CHARS) body += text;
        });
        const finish = (): void => resolve(judge(question, answer.statusCode ?? 0, body));
        answer.on("end", finish).on("error", finish);
      });
      asked.on("error", (error) =>
        resolve({ ok: false, detail: `GET https://${host}${path} → ${error.message}` }),
      );
      asked.end();
    });
  }
}

function judge(
  { host, path, status, contains }: SmokeQuestion,
  got: number,
  body: string,
): ProbeResult {
  const what = `GET https://${host}${path} → ${got}`;
  if (!isExpected(got, status)) {
    const shown = body.trim().replaceAll(/\s+/g, " ").slice(0, BODY_SHOWN_CHARS);
    return { ok: false, detail: `${what} (expected ${status})${shown ? `: ${shown}` : ""}` };
  }
  if (contains !== undefined && !body.includes(contains))
    return { ok: false, detail: `${what}, without "${contains}"` };
  return { ok: true, detail: what };
}
