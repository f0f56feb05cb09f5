// Rows of the store as OTLP again, for whoever else is to have them.

import type { MetricFamily } from "../metrics/registry.ts";
import type {
  AnyValue,
  KeyValue,
  LogsRequest,
  Metric,
  MetricsRequest,
  NumberPoint,
  Resource,
  Span,
  SpanEvent,
  TraceRequest,
} from "../otlp/messages.ts";
import type { Row } from "../store/database.ts";

const SEVERITY_NUMBERS: Readonly<Record<string, number>> = {
  trace: 1,
  debug: 5,
  info: 9,
  warn: 13,
  error: 17,
  fatal: 21,
};
const KINDS = ["", "internal", "server", "client", "producer", "consumer"];
const STATUS_ERROR = 2;
const STATUS_CODES: Readonly<Record<string, number>> = { ok: 1, error: STATUS_ERROR };
const CUMULATIVE = 2;
const COUNTED_HERE = /^holdfast_(requests_total|request_duration_seconds|telemetry_)/;
const SERVER_ERROR = 500;

export function encodeLogs(rows: readonly Row[]): LogsRequest {
  return {
    resourceLogs: byResource(rows).map(([resource, own]) => ({
      resource,
      scopeLogs: [
        {
          scope: { name: "holdfast" },
          logRecords: own.map((row) => ({
            timeUnixNano: nanos(row["timeUs"]),
            observedTimeUnixNano: nanos(row["timeUs"]),
            severityNumber: SEVERITY_NUMBERS[String(row["level"])] ?? 0,
            severityText: String(row["level"]),
            body: { stringValue: String(row["text"]) },
            traceId: bytesOf(row["trace_id"]),
            spanId: bytesOf(row["span_id"]),
          })),
        },
      ],
    })),
  };
}

export function encodeSpans(rows: readonly Row[]): TraceRequest {
  return {
    resourceSpans: byResource(rows).map(([resource, own]) => ({
      resource,
      scopeSpans: [...Map.groupBy(own, (row) => String(row["scope"]))].map(([scope, spans]) => ({
        scope: { name: scope },
        spans: spans.map((row): Span => {
          const { "status.message": message, ...attributes } = objectOf(row["attributes"]);
          return {
            ...identityOf(row),
            name: String(row["name"]),
            kind: Math.max(0, KINDS.indexOf(String(row["kind"]))),
            startTimeUnixNano: nanos(row["timeUs"]),
            endTimeUnixNano: nanos(Number(row["timeUs"]) + Number(row["duration_us"])),
            attributes: attributesOf(attributes),
            events: eventsOf(row),
            status: {
              code: STATUS_CODES[String(row["status"])] ?? 0,
              ...(message !== undefined && { message: String(message) }),
            },
          };
        }),
      })),
    })),
  };
}

/** Requests as the edge's spans: the root of a trace, or in it between two services. */
export function encodeRequests(rows: readonly Row[]): TraceRequest {
  const atEdge = rows.map((row) => ({ ...row, target: row["service"], service: "edge" }));
  return {
    resourceSpans: byResource(atEdge).map(([resource, own]) => ({
      resource,
      scopeSpans: [
        {
          scope: { name: "holdfast.edge" },
          spans: own.map((row): Span => {
            const status = Number(row["status"]);
            const failed = status >= SERVER_ERROR || status < 0;
            return {
              ...identityOf(row),
              name: String(row["method"]),
              kind: KINDS.indexOf("server"),
              startTimeUnixNano: nanos(row["timeUs"]),
              endTimeUnixNano: nanos(Number(row["timeUs"]) + Number(row["duration_ms"]) * 1_000),
              // Names of OpenTelemetry's semantic conventions for HTTP, version 1.
              attributes: attributesOf({
                "http.request.method": row["method"],
                "http.response.status_code": status,
                "url.path": row["path"],
                "server.address": row["host"],
                "client.address": row["client"],
                "user_agent.original": row["user_agent"],
                "holdfast.service": row["target"],
              }),
              ...(failed && { status: { code: STATUS_ERROR } }),
            };
          }),
        },
      ],
    })),
  };
}

/** What was counted of one environment, cumulative since `since` (ms since the epoch). */
export function encodeMetrics(
  families: readonly MetricFamily[],
  environment: string,
  since: number,
  now: number,
): { readonly points: number; readonly request: MetricsRequest } {
  const metrics = families.flatMap(({ name, type, help, series }): Metric[] => {
    const times = {
      // Of the others somebody else began to count, at a time that is not known here.
      ...(COUNTED_HERE.test(name) && { startTimeUnixNano: nanos(since * 1_000) }),
      timeUnixNano: nanos(now * 1_000),
    };
    const own = series.filter(({ labels }) => labels["environment"] === environment);
    if (own.length === 0) return [];
    const about = { name, description: help };
    const points = own
      .filter(({ suffix }) => suffix === "")
      .map(
        ({ labels, value }): NumberPoint => ({
          ...times,
          attributes: attributesOf(labels),
          asDouble: value,
        }),
      );
    const cumulative = { aggregationTemporality: CUMULATIVE };
    if (type === "counter")
      return [{ ...about, sum: { dataPoints: points, ...cumulative, isMonotonic: true } }];
    if (type === "gauge") return [{ ...about, gauge: { dataPoints: points } }];
    if (type === "histogram")
      return [{ ...about, histogram: { dataPoints: histograms(own, times), ...cumulative } }];
    return [];
  });
  const resource = { attributes: attributesOf({ "service.name": "holdfast" }) };
  const points = metrics
    .map(({ sum, gauge, histogram }) => (sum ?? gauge ?? histogram)?.dataPoints?.length ?? 0)
    .reduce((all, one) => all + one, 0);
  return { points, request: { resourceMetrics: [{ resource, scopeMetrics: [{ metrics }] }] } };
}

function histograms(
  series: MetricFamily["series"],
  times: Pick<NumberPoint, "timeUnixNano" | "startTimeUnixNano">,
) {
  const groups = Map.groupBy(series, ({ labels: { le: _, ...labels } }) => JSON.stringify(labels));
  return [...groups].map(([key, own]) => {
    const sumOf = (wanted: string): number =>
      own.find(({ suffix }) => suffix === wanted)?.value ?? 0;
    // Prometheus counts what is below each bound, OTLP what is between two.
    const buckets = own
      .filter(({ suffix }) => suffix === "_bucket")
      .map(({ labels, value }) => ({
        bound: Number(String(labels["le"]).replace("+Inf", "Infinity")),
        value,
      }))
      .sort((a, b) => a.bound - b.bound);
    return {
      ...times,
      attributes: attributesOf(JSON.parse(key) as Record<string, unknown>),
      count: sumOf("_count"),
      sum: sumOf("_sum"),
      bucketCounts: buckets.map(({ value }, i) => value - (buckets[i - 1]?.value ?? 0)),
      explicitBounds: buckets.map(({ bound }) => bound).filter(Number.isFinite),
    };
  });
}

/** Rows by who said them, in the words of OpenTelemetry's resource conventions. */
function byResource(rows: readonly Row[]): [Resource, readonly Row[]][] {
  const groups = Map.groupBy(rows, (row) =>
    JSON.stringify({
      "service.name": row["service"],
      "service.namespace": row["app"],
      "service.version": row["release"] ? String(row["release"]) : "",
      "service.instance.id": row["instance"],
      "deployment.environment.name": row["environment"],
    }),
  );
  return [...groups].map(([key, own]) => [
    { attributes: attributesOf(JSON.parse(key) as Record<string, unknown>) },
    own,
  ]);
}

const identityOf = (row: Row) => ({
  traceId: bytesOf(row["trace_id"]),
  spanId: bytesOf(row["span_id"]),
  parentSpanId: bytesOf(row["parent_span_id"]),
});

interface KeptEvent extends Readonly<Record<string, unknown>> {
  readonly name?: string;
  /** After the beginning of its span. */
  readonly atUs: number;
}

function eventsOf(row: Row): SpanEvent[] {
  const events = row["events"] === "" ? [] : (JSON.parse(String(row["events"])) as unknown);
  // Too many to be kept whole were cut, and are no list any more.
  if (!Array.isArray(events)) return [];
  return (events as readonly KeptEvent[]).map(({ name = "", atUs, ...attributes }) => ({
    name,
    timeUnixNano: nanos(Number(row["timeUs"]) + atUs),
    attributes: attributesOf(attributes),
  }));
}

/** Ids are bytes, which the encoding takes as base64. */
const bytesOf = (hex: unknown): string => Buffer.from(String(hex), "hex").toString("base64");

const nanos = (us: unknown): string => `${Math.round(Number(us))}000`;

function objectOf(json: unknown): Record<string, unknown> {
  return json === "" ? {} : (JSON.parse(String(json)) as Record<string, unknown>);
}

/** Without what is empty. */
const attributesOf = (values: Readonly<Record<string, unknown>>): KeyValue[] =>
  Object.entries(values)
    .filter(([, value]) => value !== "" && value !== null && value !== undefined)
    .map(([key, value]) => ({ key, value: anyValue(value) }));

function anyValue(value: unknown): AnyValue {
  if (typeof value === "string") return { stringValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  if (typeof value === "number")
    return Number.isInteger(value) ? { intValue: value } : { doubleValue: value };
  if (Array.isArray(value)) return { arrayValue: { values: value.map(anyValue) } };
  if (value === null || value === undefined) return { stringValue: "" };
  return { kvlistValue: { values: attributesOf(value as Record<string, unknown>) } };
}
