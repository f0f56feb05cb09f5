// Traces: the edge's part from the request records, the rest as the apps sent it.

import type { TraceSpan, TraceSummary } from "../kernel/signal.ts";
import { all, equals, msOf, quoted } from "./sql.ts";
import type { TelemetryStore } from "./store/telemetry-store.ts";

export interface TraceFilter {
  readonly from: number;
  readonly to: number;
  readonly environment: string;
  readonly app?: string | undefined;
  readonly service?: string | undefined;
  readonly release?: number | undefined;
  readonly errors: boolean;
  /** Slowest first, instead of newest first. */
  readonly slow: boolean;
  readonly limit: number;
}

/** A trace that the edge began says when, in its id; others may be anywhere. */
const TRACE_MAX_MS = 60 * 60_000;
const SKEW_MS = 60_000;
const FIRST_EDGE_US = 1_600_000_000_000_000;

export class TraceQuery {
  readonly #store: TelemetryStore;

  constructor(store: TelemetryStore) {
    this.#store = store;
  }

  /** Requests that the edge let in, each the beginning of a trace. */
  async find(filter: TraceFilter): Promise<readonly TraceSummary[]> {
    await this.#store.load(["requests"]);
    const { from, to, environment, app, service, release, errors, slow, limit } = filter;
    const where = all(
      "route <> 'internal' AND app <> ''",
      equals("app", app),
      equals("service", service),
      equals("release", release),
      errors ? "failed = 1" : undefined,
    );
    const rows = await this.#store.database.read(`
      SELECT trace_id AS "traceId", ${msOf("time")} AS time, app, service, release,
             method || ' ' || path AS name, status, coalesce(failed, 0) = 1 AS failed, duration_ms::DOUBLE AS "durationMs"
      FROM (${this.#store.rows("requests", { from, to, environment })}) WHERE ${where}
      ORDER BY ${slow ? "duration_ms" : "time"} DESC LIMIT ${Math.trunc(limit)}`);
    return rows.map((row) => ({ ...row, time: Number(row["time"]) }) as unknown as TraceSummary);
  }

  /** All spans of a trace, by their beginning; empty where there is none of that id. */
  async get(traceId: string): Promise<readonly TraceSpan[]> {
    await this.#store.load(["requests", "spans"]);
    const sent = await this.#sent(traceId, extentOf(traceId));
    // One after the other: a trace may have more spans than a call has arguments.
    const first = sent.reduce((least, { time }) => Math.min(least, time), Infinity);
    const last = sent.reduce((most, { time }) => Math.max(most, time), -Infinity);
    const extent =
      sent.length > 0 ? { from: first - TRACE_MAX_MS, to: last + SKEW_MS } : extentOf(traceId);
    const edge = await this.#edge(traceId, extent);
    return [...edge, ...sent].sort((a, b) => a.time - b.time);
  }

  async #sent(traceId: string, extent: { from: number; to: number }): Promise<TraceSpan[]> {
    const rows = await this.#store.database.read(`
      SELECT ${msOf("time")} AS time, duration_us / 1000.0 AS "durationMs", environment, app, service,
             release, instance, span_id AS "spanId", parent_span_id AS "parentSpanId", name, kind,
             status, scope, attributes, events
      FROM (${this.#store.rows("spans", extent)}) WHERE trace_id = ${quoted(traceId)}`);
    return rows.map(
      (row) =>
        ({
          ...row,
          time: Number(row["time"]),
          durationMs: Number(row["durationMs"]),
          attributes: parsed(row["attributes"], {}),
          events: listOf(parsed(row["events"], [])),
        }) as unknown as TraceSpan,
    );
  }

  async #edge(traceId: string, extent: { from: number; to: number }): Promise<TraceSpan[]> {
    const rows = await this.#store.database.read(`
      SELECT ${msOf("time")} AS time, duration_ms::DOUBLE AS "durationMs", environment, app, service,
             release, instance, span_id AS "spanId", parent_span_id AS "parentSpanId",
             method || ' ' || path AS name, status AS code, host, route, retries, ending,
             queue_ms AS queue, connect_ms AS connect, response_ms AS response
      FROM (${this.#store.rows("requests", extent)}) WHERE trace_id = ${quoted(traceId)}`);
    return rows.map((row) => {
      const { code, host, route, retries, ending, queue, connect, response, ...span } = row;
      return {
        ...span,
        time: Number(row["time"]),
        durationMs: Number(row["durationMs"]),
        kind: "server",
        scope: "edge",
        status: Number(code) >= 500 || Number(code) < 100 ? "error" : "",
        attributes: {
          "http.response.status_code": code,
          "server.address": host,
          "http.route": route,
          "holdfast.retries": retries,
          "holdfast.ending": ending,
          "holdfast.queue_ms": queue,
          "holdfast.connect_ms": connect,
          "holdfast.response_ms": response,
        },
        events: [],
      } as unknown as TraceSpan;
    });
  }
}

function extentOf(traceId: string): { from: number; to: number } {
  const us = Number.parseInt(traceId.slice(0, 16), 16);
  const isOfEdge = us > FIRST_EDGE_US && us < FIRST_EDGE_US * 2;
  return isOfEdge
    ? { from: us / 1000 - SKEW_MS, to: us / 1000 + TRACE_MAX_MS }
    : { from: 0, to: Number.MAX_SAFE_INTEGER / 1000 };
}

// An earlier build kept events that were too long as one object.
const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [value]);

function parsed(text: unknown, otherwise: unknown): unknown {
  try {
    return text === "" || text === null ? otherwise : JSON.parse(String(text));
  } catch {
    return otherwise;
  }
}
