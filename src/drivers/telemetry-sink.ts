import { Redacted } from "../kernel/redacted.ts";
import type { TelemetrySink } from "../resources/app/app-driver.ts";

/** Instances find by these variables where to send, in the words that every OpenTelemetry SDK reads. */
export const telemetrySink = (
  { http, grpc }: { readonly http: number; readonly grpc: number },
  tokenOf: (instance: Parameters<TelemetrySink["variables"]>[0]) => string,
): TelemetrySink => ({
  ports: [http, grpc],
  variables: (instance, localhost) => ({
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://${localhost}:${http}`,
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf",
    OTEL_EXPORTER_OTLP_HEADERS: new Redacted(`authorization=Bearer%20${tokenOf(instance)}`),
  }),
});
