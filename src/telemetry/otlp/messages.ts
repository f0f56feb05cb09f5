// OTLP's messages (opentelemetry-proto, v1), described to the protobuf library: the fields that are
// read here, with their numbers. What is not described is passed over, as protobuf has it.
// The JSON encoding has the same shape, but for ids, which are hex there.

import protobuf from "protobufjs";
import { invalid, messageOf } from "../../kernel/error.ts";

export interface AnyValue {
  readonly stringValue?: string;
  readonly boolValue?: boolean;
  readonly intValue?: number | string;
  readonly doubleValue?: number;
  readonly arrayValue?: { readonly values?: readonly AnyValue[] };
  readonly kvlistValue?: { readonly values?: readonly KeyValue[] };
  readonly bytesValue?: string;
}
export interface KeyValue {
  readonly key: string;
  readonly value?: AnyValue;
}
export interface Resource {
  readonly attributes?: readonly KeyValue[];
}
export interface Scope {
  readonly name?: string;
}
export interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name?: string;
  readonly kind?: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes?: readonly KeyValue[];
  readonly events?: readonly SpanEvent[];
  readonly status?: { readonly code?: number; readonly message?: string };
}
export interface SpanEvent {
  readonly timeUnixNano: string;
  readonly name?: string;
  readonly attributes?: readonly KeyValue[];
}
export interface LogRecord {
  readonly timeUnixNano?: string;
  readonly observedTimeUnixNano?: string;
  readonly severityNumber?: number;
  readonly severityText?: string;
  readonly body?: AnyValue;
  readonly attributes?: readonly KeyValue[];
  readonly traceId?: string;
  readonly spanId?: string;
}
export interface NumberPoint {
  readonly attributes?: readonly KeyValue[];
  readonly startTimeUnixNano?: string;
  readonly timeUnixNano?: string;
  readonly asDouble?: number;
  readonly asInt?: number | string;
}
export interface HistogramPoint {
  readonly attributes?: readonly KeyValue[];
  readonly startTimeUnixNano?: string;
  readonly timeUnixNano?: string;
  readonly count?: number | string;
  readonly sum?: number;
  readonly bucketCounts?: readonly (number | string)[];
  readonly explicitBounds?: readonly number[];
}
export interface ExponentialPoint {
  readonly attributes?: readonly KeyValue[];
  readonly timeUnixNano?: string;
  readonly count?: number | string;
  readonly sum?: number;
  readonly scale?: number;
  readonly zeroCount?: number | string;
  readonly positive?: {
    readonly offset?: number;
    readonly bucketCounts?: readonly (number | string)[];
  };
}
export interface SummaryPoint {
  readonly attributes?: readonly KeyValue[];
  readonly count?: number | string;
  readonly sum?: number;
  readonly quantileValues?: readonly { readonly quantile?: number; readonly value?: number }[];
}
export interface Metric {
  readonly name: string;
  readonly description?: string;
  readonly unit?: string;
  readonly gauge?: { readonly dataPoints?: readonly NumberPoint[] };
  readonly sum?: {
    readonly dataPoints?: readonly NumberPoint[];
    readonly aggregationTemporality?: number;
    readonly isMonotonic?: boolean;
  };
  readonly histogram?: {
    readonly dataPoints?: readonly HistogramPoint[];
    readonly aggregationTemporality?: number;
  };
  readonly exponentialHistogram?: {
    readonly dataPoints?: readonly ExponentialPoint[];
    readonly aggregationTemporality?: number;
  };
  readonly summary?: { readonly dataPoints?: readonly SummaryPoint[] };
}
export interface TraceRequest {
  readonly resourceSpans?: readonly {
    readonly resource?: Resource;
    readonly scopeSpans?: readonly { readonly scope?: Scope; readonly spans?: readonly Span[] }[];
  }[];
}
export interface LogsRequest {
  readonly resourceLogs?: readonly {
    readonly resource?: Resource;
    readonly scopeLogs?: readonly {
      readonly scope?: Scope;
      readonly logRecords?: readonly LogRecord[];
    }[];
  }[];
}
export interface MetricsRequest {
  readonly resourceMetrics?: readonly {
    readonly resource?: Resource;
    readonly scopeMetrics?: readonly { readonly metrics?: readonly Metric[] }[];
  }[];
}

export type OtlpSignal = "traces" | "logs" | "metrics";
export interface OtlpRequests {
  readonly traces: TraceRequest;
  readonly logs: LogsRequest;
  readonly metrics: MetricsRequest;
}

type Fields = Readonly<Record<string, readonly [id: number, type: string, rule?: "repeated"]>>;

const message = (fields: Fields, oneofs?: Record<string, { oneof: string[] }>) => ({
  fields: Object.fromEntries(
    Object.entries(fields).map(([name, [id, type, rule]]) => [
      name,
      { id, type, ...(rule && { rule }) },
    ]),
  ),
  ...(oneofs && { oneofs }),
});

const ATTRIBUTES = (id: number) => [id, "KeyValue", "repeated"] as const;

const root = protobuf.Root.fromJSON({
  nested: {
    AnyValue: message(
      {
        stringValue: [1, "string"],
        boolValue: [2, "bool"],
        intValue: [3, "int64"],
        doubleValue: [4, "double"],
        arrayValue: [5, "ArrayValue"],
        kvlistValue: [6, "KeyValueList"],
        bytesValue: [7, "bytes"],
      },
      {
        value: {
          oneof: [
            "stringValue",
            "boolValue",
            "intValue",
            "doubleValue",
            "arrayValue",
            "kvlistValue",
            "bytesValue",
          ],
        },
      },
    ),
    ArrayValue: message({ values: [1, "AnyValue", "repeated"] }),
    KeyValueList: message({ values: [1, "KeyValue", "repeated"] }),
    KeyValue: message({ key: [1, "string"], value: [2, "AnyValue"] }),
    Resource: message({ attributes: ATTRIBUTES(1) }),
    Scope: message({ name: [1, "string"] }),
    Traces: message({ resourceSpans: [1, "ResourceSpans", "repeated"] }),
    ResourceSpans: message({
      resource: [1, "Resource"],
      scopeSpans: [2, "ScopeSpans", "repeated"],
    }),
    ScopeSpans: message({ scope: [1, "Scope"], spans: [2, "Span", "repeated"] }),
    Span: message({
      traceId: [1, "bytes"],
      spanId: [2, "bytes"],
      parentSpanId: [4, "bytes"],
      name: [5, "string"],
      kind: [6, "int32"],
      startTimeUnixNano: [7, "fixed64"],
      endTimeUnixNano: [8, "fixed64"],
      attributes: ATTRIBUTES(9),
      events: [11, "SpanEvent", "repeated"],
      status: [15, "SpanStatus"],
    }),
    SpanEvent: message({
      timeUnixNano: [1, "fixed64"],
      name: [2, "string"],
      attributes: ATTRIBUTES(3),
    }),
    SpanStatus: message({ message: [2, "string"], code: [3, "int32"] }),
    Logs: message({ resourceLogs: [1, "ResourceLogs", "repeated"] }),
    ResourceLogs: message({ resource: [1, "Resource"], scopeLogs: [2, "ScopeLogs", "repeated"] }),
    ScopeLogs: message({ scope: [1, "Scope"], logRecords: [2, "LogRecord", "repeated"] }),
    LogRecord: message({
      timeUnixNano: [1, "fixed64"],
      severityNumber: [2, "int32"],
      severityText: [3, "string"],
      body: [5, "AnyValue"],
      attributes: ATTRIBUTES(6),
      traceId: [9, "bytes"],
      spanId: [10, "bytes"],
      observedTimeUnixNano: [11, "fixed64"],
    }),
    Metrics: message({ resourceMetrics: [1, "ResourceMetrics", "repeated"] }),
    ResourceMetrics: message({
      resource: [1, "Resource"],
      scopeMetrics: [2, "ScopeMetrics", "repeated"],
    }),
    ScopeMetrics: message({ scope: [1, "Scope"], metrics: [2, "Metric", "repeated"] }),
    Metric: message({
      name: [1, "string"],
      description: [2, "string"],
      unit: [3, "string"],
      gauge: [5, "Gauge"],
      sum: [7, "Sum"],
      histogram: [9, "Histogram"],
      exponentialHistogram: [10, "ExponentialHistogram"],
      summary: [11, "Summary"],
    }),
    Gauge: message({ dataPoints: [1, "NumberPoint", "repeated"] }),
    Sum: message({
      dataPoints: [1, "NumberPoint", "repeated"],
      aggregationTemporality: [2, "int32"],
      isMonotonic: [3, "bool"],
    }),
    Histogram: message({
      dataPoints: [1, "HistogramPoint", "repeated"],
      aggregationTemporality: [2, "int32"],
    }),
    ExponentialHistogram: message({
      dataPoints: [1, "ExponentialPoint", "repeated"],
      aggregationTemporality: [2, "int32"],
    }),
    Summary: message({ dataPoints: [1, "SummaryPoint", "repeated"] }),
    NumberPoint: message({
      startTimeUnixNano: [2, "fixed64"],
      timeUnixNano: [3, "fixed64"],
      asDouble: [4, "double"],
      asInt: [6, "sfixed64"],
      attributes: ATTRIBUTES(7),
    }),
    HistogramPoint: message({
      startTimeUnixNano: [2, "fixed64"],
      timeUnixNano: [3, "fixed64"],
      count: [4, "fixed64"],
      sum: [5, "double"],
      bucketCounts: [6, "fixed64", "repeated"],
      explicitBounds: [7, "double", "repeated"],
      attributes: ATTRIBUTES(9),
    }),
    ExponentialPoint: message({
      attributes: ATTRIBUTES(1),
      timeUnixNano: [3, "fixed64"],
      count: [4, "fixed64"],
      sum: [5, "double"],
      scale: [6, "sint32"],
      zeroCount: [7, "fixed64"],
      positive: [8, "Buckets"],
    }),
    Buckets: message({ offset: [1, "sint32"], bucketCounts: [2, "uint64", "repeated"] }),
    SummaryPoint: message({
      timeUnixNano: [3, "fixed64"],
      count: [4, "fixed64"],
      sum: [5, "double"],
      quantileValues: [6, "QuantileValue", "repeated"],
      attributes: ATTRIBUTES(7),
    }),
    QuantileValue: message({ quantile: [1, "double"], value: [2, "double"] }),
    Status: message({ code: [1, "int32"], message: [2, "string"] }),
  },
});

const TYPES: Readonly<Record<OtlpSignal, protobuf.Type>> = {
  traces: root.lookupType("Traces"),
  logs: root.lookupType("Logs"),
  metrics: root.lookupType("Metrics"),
};
const STATUS = root.lookupType("Status");

export type Encoding = "protobuf" | "json";

/** @throws otlp.malformed */
export function decodeRequest<S extends OtlpSignal>(
  signal: S,
  encoding: Encoding,
  body: Uint8Array,
): OtlpRequests[S] {
  try {
    // JSON may say anything: as a message every field is of its type, or it is refused.
    const decoded =
      encoding === "json"
        ? TYPES[signal].fromObject(JSON.parse(Buffer.from(body).toString("utf8"), numbersOfEnums))
        : TYPES[signal].decode(body);
    return TYPES[signal].toObject(decoded, { longs: String, bytes: String }) as OtlpRequests[S];
  } catch (error) {
    throw invalid("otlp.malformed", `this is no OTLP ${signal} request: ${messageOf(error)}`, {
      hint: "send application/x-protobuf or application/json as OTLP 1.x has them",
    });
  }
}

const ENUMS: Readonly<Record<string, readonly string[]>> = {
  kind: ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"].map(
    (name) => `SPAN_KIND_${name}`,
  ),
  code: ["UNSET", "OK", "ERROR"].map((name) => `STATUS_CODE_${name}`),
  aggregationTemporality: ["UNSPECIFIED", "DELTA", "CUMULATIVE"].map(
    (name) => `AGGREGATION_TEMPORALITY_${name}`,
  ),
  severityNumber: [
    "SEVERITY_NUMBER_UNSPECIFIED",
    ...["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"].flatMap((name) =>
      ["", "2", "3", "4"].map((more) => `SEVERITY_NUMBER_${name}${more}`),
    ),
  ],
};

/** JSON may write an enumeration as its number or its name. */
function numbersOfEnums(key: string, value: unknown): unknown {
  const names = typeof value === "string" ? ENUMS[key] : undefined;
  return names ? Math.max(0, names.indexOf(String(value))) : value;
}

/** In protobuf; ids as base64, as protobuf's own JSON has bytes. */
export const encodeRequest = <S extends OtlpSignal>(
  signal: S,
  request: OtlpRequests[S],
): Uint8Array => TYPES[signal].encode(TYPES[signal].fromObject(request as object)).finish();

/** Body of a refusal: google.rpc.Status, as OTLP has it. */
export function encodeStatus(encoding: Encoding, code: number, text: string): Uint8Array {
  if (encoding === "json") return Buffer.from(JSON.stringify({ code, message: text }));
  return STATUS.encode(STATUS.create({ code, message: text })).finish();
}

/** An id in hex, whichever encoding it came in; empty where it is none of that length. */
export function hexId(id: string | undefined, encoding: Encoding, bytes: 8 | 16): string {
  if (!id) return "";
  const hex = encoding === "json" ? id.toLowerCase() : Buffer.from(id, "base64").toString("hex");
  return hex.length === bytes * 2 && /^[0-9a-f]+$/.test(hex) && !/^0+$/.test(hex) ? hex : "";
}

/** Microseconds since the epoch. */
export function microseconds(nanos: string | number | undefined): number {
  if (nanos === undefined || nanos === "" || nanos === "0") return 0;
  return Number(BigInt(nanos) / 1000n);
}

export function plainValue(value: AnyValue | undefined): unknown {
  if (value === undefined) return null;
  if (value.stringValue !== undefined) return value.stringValue;
  if (value.boolValue !== undefined) return value.boolValue;
  if (value.intValue !== undefined) return Number(value.intValue);
  if (value.doubleValue !== undefined) return value.doubleValue;
  if (value.arrayValue !== undefined) return (value.arrayValue.values ?? []).map(plainValue);
  if (value.kvlistValue !== undefined) return plainObject(value.kvlistValue.values);
  return value.bytesValue ?? null;
}

export const plainObject = (pairs: readonly KeyValue[] | undefined): Record<string, unknown> =>
  Object.fromEntries((pairs ?? []).map(({ key, value }) => [key, plainValue(value)]));

const REJECTED = {
  traces: "rejectedSpans",
  logs: "rejectedLogRecords",
  metrics: "rejectedDataPoints",
} as const;

/** The signal's ExportServiceResponse, with what was refused: of that the sender learns only here. */
export function encodePartialSuccess(
  signal: OtlpSignal,
  encoding: Encoding,
  refused: { readonly count: number; readonly why: string } | undefined,
): Uint8Array {
  if (encoding === "json") {
    const { count, why } = refused ?? {};
    const answer = refused && {
      partialSuccess: { [REJECTED[signal]]: String(count), errorMessage: why },
    };
    return Buffer.from(JSON.stringify(answer ?? {}));
  }
  if (!refused) return new Uint8Array();
  const why = Buffer.from(refused.why);
  const message = Buffer.concat([
    Buffer.from([(1 << 3) | VARINT, ...varint(refused.count)]),
    Buffer.from([(2 << 3) | BYTES, ...varint(why.length)]),
    why,
  ]);
  return Buffer.concat([Buffer.from([(1 << 3) | BYTES, ...varint(message.length)]), message]);
}

const VARINT = 0;
const BYTES = 2;

function varint(value: number): number[] {
  const bytes: number[] = [];
  let left = value;
  for (; left >= 0x80; left = Math.floor(left / 0x80)) bytes.push((left & 0x7f) | 0x80);
  return [...bytes, left];
}
