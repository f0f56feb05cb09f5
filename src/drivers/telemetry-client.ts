// The telemetry process, asked over its socket. Where it is away the answer is "nothing to show",
// never a failure of what was asked.

import { request } from "node:http";
import type { Readable } from "node:stream";
import { transient } from "../kernel/error.ts";

export interface TrafficRow {
  readonly app: string;
  readonly service: string;
  readonly release: number;
  readonly requests: number;
  readonly errors: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
}

const TIMEOUT_MS = 10_000;

export class TelemetryClient {
  readonly #socket: string;

  constructor(socket: string) {
    this.#socket = socket;
  }

  async traffic(sinceMs: number): Promise<readonly TrafficRow[] | undefined> {
    try {
      const chunks: Buffer[] = [];
      for await (const chunk of await this.#get(
        `/traffic?sinceMs=${sinceMs}`,
        AbortSignal.timeout(TIMEOUT_MS),
      )) {
        chunks.push(chunk as Buffer);
      }
      return JSON.parse(Buffer.concat(chunks).toString("utf8")) as TrafficRow[];
    } catch {
      return undefined;
    }
  }

  async logs(
    query: {
      app?: string | undefined;
      service?: string | undefined;
      instance?: string | undefined;
      sinceMs: number;
      limit: number;
      follow: boolean;
    },
    signal: AbortSignal,
  ): Promise<Readable> {
    const search = new URLSearchParams();
    for (const [key, value] of Object.entries(query))
      if (value !== undefined) search.set(key, String(value));
    return this.#get(`/logs?${search}`, signal);
  }

  #get(path: string, signal: AbortSignal): Promise<Readable> {
    return new Promise((resolve, reject) => {
      const asked = request({ socketPath: this.#socket, path, signal }, (answer) => {
        if (answer.statusCode === 200) resolve(answer);
        else
          reject(
            transient("telemetry.failed", `the telemetry process answered ${answer.statusCode}`, {
              hint: "holdfast logs --engine telemetry",
            }),
          );
      });
      asked.on("error", (cause) =>
        reject(
          transient("telemetry.away", "the telemetry process does not answer", {
            hint: "holdfast up",
            cause,
          }),
        ),
      );
      asked.end();
    });
  }
}
