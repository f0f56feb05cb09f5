// The telemetry process, asked over its socket.

import { request } from "node:http";
import type { Readable } from "node:stream";
import { errorOfProblem, type Problem, transient } from "../kernel/error.ts";
import type { LogFilter, TrafficSummary } from "../kernel/signal.ts";

const TIMEOUT_MS = 60_000;
const TRAFFIC_TIMEOUT_MS = 10_000;

export class TelemetryClient {
  readonly #socket: string;

  constructor(socket: string) {
    this.#socket = socket;
  }

  /** Undefined where telemetry is away: never a failure of the status that asked. */
  async traffic(sinceMs: number): Promise<readonly TrafficSummary[] | undefined> {
    const signal = AbortSignal.timeout(TRAFFIC_TIMEOUT_MS);
    return this.ask<readonly TrafficSummary[]>("/traffic", { sinceMs }, signal).catch(
      () => undefined,
    );
  }

  logs(question: LogFilter & { readonly follow: boolean }, signal: AbortSignal): Promise<Readable> {
    return this.#send("/logs", question, signal);
  }

  /** @throws what the telemetry process refused with; telemetry.away where it does not answer */
  async ask<Answer>(
    path: string,
    question: unknown,
    signal: AbortSignal = AbortSignal.timeout(TIMEOUT_MS),
  ): Promise<Answer> {
    return JSON.parse(await textOf(await this.#send(path, question, signal))) as Answer;
  }

  #send(path: string, question: unknown, signal: AbortSignal): Promise<Readable> {
    return new Promise((resolve, reject) => {
      const options = { socketPath: this.#socket, path, method: "POST", signal };
      const asked = request(options, (answer) => {
        if (answer.statusCode === 200) return resolve(answer);
        textOf(answer)
          .then((text) => reject(errorOfProblem(JSON.parse(text) as Problem)))
          .catch(reject);
      });
      asked.on("error", (cause) =>
        reject(
          transient("telemetry.away", "the telemetry process does not answer", {
            hint: "holdfast up",
            cause,
          }),
        ),
      );
      asked.end(JSON.stringify(question));
    });
  }
}

async function textOf(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}
