// A health check from outside the instance: nothing needs to be installed in it, and what it
// answered is part of the result.

import { randomBytes } from "node:crypto";
import { request } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { setTimeout as pause } from "node:timers/promises";
import type {
  Address,
  HealthProbe,
  PoolPolicy,
  ProbeResult,
} from "../../resources/app/app-driver.ts";
import type { Health } from "../../resources/app/manifest.ts";

const BODY_SHOWN_CHARS = 200;
/** Where no path is given: whatever is there to be answered by, but for errors of the app's own. */
const ANY_ANSWER = { path: "/", status: "100-499" };
const SECOND_LOOK_MS = 200;

type Question = Health & Pick<PoolPolicy, "protocol"> & { readonly path: string };
interface Answer {
  readonly status: number;
  readonly location: string | undefined;
  readonly body: string;
}

export class NetworkProbe implements HealthProbe {
  async probe(
    address: Address,
    health: Health & Pick<PoolPolicy, "protocol">,
    signal: AbortSignal,
  ): Promise<ProbeResult> {
    const { path } = health;
    if (path !== undefined) return ask(address, { ...health, path }, signal);
    const first = await ask(address, { ...health, ...ANY_ANSWER }, signal);
    if (!first.ok) return first;
    // Some answer one request and die of it.
    await pause(SECOND_LOOK_MS, undefined, { signal }).catch(() => undefined);
    return ask(address, { ...health, ...ANY_ANSWER }, signal);
  }
}

async function ask(
  address: Address,
  question: Question,
  signal: AbortSignal,
): Promise<ProbeResult> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(question.timeout)]);
  const what = `GET ${question.path}`;
  try {
    const answer = await (question.protocol === "h2c" ? askH2 : askH1)(address, question, bounded);
    const ok = isExpected(answer.status, question.status);
    const to = answer.location === undefined ? "" : ` to ${answer.location}`;
    const shown =
      ok || !answer.body.trim() ? "" : `: ${answer.body.trim().replaceAll(/\s+/g, " ")}`;
    return {
      ok,
      detail: `${what} → ${answer.status}${to}${shown} (expected ${question.status})`,
    };
  } catch (error) {
    return { ok: false, detail: `${what} → ${failureText(error as Error, question)}` };
  }
}

// With what an app has from the edge in every request, and may rely on; its trace is not sampled.
function headersOf({ host, port }: Address, question: Question) {
  const name = question.host ?? `${host}:${port}`;
  const id = randomBytes(16).toString("hex");
  return {
    host: name,
    "user-agent": "holdfast-probe",
    "x-forwarded-for": "127.0.0.1",
    "x-forwarded-host": name,
    "x-forwarded-proto": "https",
    "x-real-ip": "127.0.0.1",
    "x-request-id": id,
    traceparent: `00-${id}-${id.slice(0, 16)}-00`,
  };
}

function askH1(address: Address, question: Question, signal: AbortSignal): Promise<Answer> {
  const { host, port } = address;
  const headers = { ...headersOf(address, question), connection: "close" };
  return new Promise((resolve, reject) => {
    const options = { host, port, path: question.path, headers, signal, agent: false };
    const asked = request(options, (answer) => {
      let body = "";
      answer.setEncoding("utf8").on("data", (text: string) => {
        body = (body + text).slice(0, BODY_SHOWN_CHARS);
      });
      const finish = (): void =>
        resolve({ status: answer.statusCode ?? 0, location: answer.headers.location, body });
      answer.on("end", finish).on("error", finish);
    });
    asked.on("error", reject).end();
  });
}

function askH2(address: Address, question: Question, signal: AbortSignal): Promise<Answer> {
  const { host: authority, ...headers } = headersOf(address, question);
  const session = connectHttp2(`http://${address.host}:${address.port}`);
  return new Promise<Answer>((resolve, reject) => {
    // The stream's own error says only that the session is gone: it comes a moment later.
    session.on("error", reject);
    const stream = session.request(
      { ":path": question.path, ":authority": authority, ...headers },
      { signal },
    );
    let [status, location, body] = [0, undefined as string | undefined, ""];
    stream.on("response", (answer) => {
      status = Number(answer[":status"] ?? 0);
      location = answer["location"];
    });
    stream.setEncoding("utf8").on("data", (text: string) => {
      body = (body + text).slice(0, BODY_SHOWN_CHARS);
    });
    stream
      .on("error", (error) => setImmediate(reject, error))
      .on("end", () => resolve({ status, location, body }));
  }).finally(() => session.destroy());
}

/** `200` or `200-299`. */
export function isExpected(status: number, range: string): boolean {
  const [from, to = from] = range.split("-").map(Number);
  return from !== undefined && to !== undefined && status >= from && status <= to;
}

function failureText(error: Error, { timeout }: Question): string {
  const { code } = error as NodeJS.ErrnoException;
  if (error.name === "TimeoutError" || error.name === "AbortError" || code === "ABORT_ERR")
    return `no answer within ${timeout} ms`;
  return code === "ECONNREFUSED" ? "connection refused" : (code ?? error.message);
}
