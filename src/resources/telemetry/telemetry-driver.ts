// What watches, as the platform asks it: the telemetry process, Prometheus and Alertmanager.

import type { ByteStream } from "../../kernel/byte-stream.ts";
import type { LogFilter, TrafficSummary } from "../../kernel/signal.ts";

/** The telemetry process, as the platform asks it. */
export interface TelemetryReader {
  /** Undefined where it is away: then there is nothing to show. */
  traffic(sinceMs: number): Promise<readonly TrafficSummary[] | undefined>;
  /** NDJSON: one LogLine per line. */
  logs(
    question: LogFilter & { readonly follow: boolean },
    signal: AbortSignal,
  ): Promise<ByteStream>;
  /** @throws telemetry.away, or what it refused with */
  ask<Answer>(path: string, question: unknown, signal?: AbortSignal): Promise<Answer>;
}

/** Prometheus and Alertmanager, as the platform asks them. */
export interface MonitoringReader {
  /**
   * Prometheus' own API; gives its whole answer, with an environment only what is of that.
   *
   * @throws metrics.bad_query, metrics.away
   */
  ask(
    path: string,
    params: Readonly<Record<string, string | readonly string[]>>,
    environment?: string,
  ): Promise<unknown>;
  /** Alertmanager's API. @throws alerting.refused, alerting.away */
  alertmanager(method: string, path: string, body?: unknown): Promise<unknown>;
}
