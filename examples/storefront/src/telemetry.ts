// Traces and metrics with the OpenTelemetry SDK. Nothing is configured here: where to send, and as
// whom, the SDK finds in the OTEL_* variables. Without them everything below does nothing.

import {
  context,
  INVALID_SPAN_CONTEXT,
  metrics,
  propagation,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from "@opentelemetry/api";
import { OTLPMetricExporter } from "@opentelemetry/exporter-metrics-otlp-proto";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { MeterProvider, PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

const METRICS_EVERY_MS = 10_000;
const isOn = Boolean(process.env["OTEL_EXPORTER_OTLP_ENDPOINT"]);

const spans = isOn ? [new BatchSpanProcessor(new OTLPTraceExporter())] : [];
const provider = new NodeTracerProvider({ spanProcessors: spans });
provider.register();
const meters = new MeterProvider({
  readers: isOn
    ? [
        new PeriodicExportingMetricReader({
          exporter: new OTLPMetricExporter(),
          exportIntervalMillis: METRICS_EVERY_MS,
        }),
      ]
    : [],
});
metrics.setGlobalMeterProvider(meters);

const tracer = trace.getTracer("storefront");
export const meter = metrics.getMeter("storefront");

type Attributes = Readonly<Record<string, string | number>>;

/** Work as a span of the one that is under way; where none is, a question to a store is none either. */
export function inSpan<Result>(
  name: string,
  kind: "server" | "client" | "internal",
  attributes: Attributes,
  work: (span: Span) => Promise<Result>,
): Promise<Result> {
  const isLost = kind === "client" && trace.getActiveSpan() === undefined;
  if (isLost) return work(trace.wrapSpanContext(INVALID_SPAN_CONTEXT));
  const options = { kind: KINDS[kind], attributes };
  return tracer.startActiveSpan(name, options, async (span) => {
    try {
      return await work(span);
    } catch (error) {
      span.recordException(error instanceof Error ? error : String(error));
      span.setStatus({ code: SpanStatusCode.ERROR });
      throw error;
    } finally {
      span.end();
    }
  });
}

const KINDS = {
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  internal: SpanKind.INTERNAL,
} as const;

/** Goes on with the trace that a request's headers name. */
export function continued<Result>(headers: object, work: () => Result): Result {
  return context.with(propagation.extract(context.active(), headers), work);
}

/** Headers that let the other side go on with the trace. */
export function traceHeaders(): Record<string, string> {
  const headers: Record<string, string> = {};
  propagation.inject(context.active(), headers);
  return headers;
}

/** For log lines: which trace they are part of. */
export function traceFields(): { trace_id?: string; span_id?: string } {
  const span = trace.getActiveSpan()?.spanContext();
  return span ? { trace_id: span.traceId, span_id: span.spanId } : {};
}

export const failed = (span: Span): void => {
  span.setStatus({ code: SpanStatusCode.ERROR });
};

/** Sends what is left; never a reason not to stop. */
export async function stopTelemetry(): Promise<void> {
  await Promise.allSettled([provider.shutdown(), meters.shutdown()]);
}
