// The telemetry process, put together: what comes in on one side, what answers on the other, the
// store between them.

import type { ObjectiveQuestion } from "../kernel/objective-counts.ts";
import type { ComparisonQuestion, ExportTarget, PlatformReport, Signal } from "../kernel/signal.ts";
import { type AnomalyQuestion, BaselineQuery } from "./baseline/baseline-query.ts";
import { HourSummaries } from "./baseline/hour-summaries.ts";
import { ComparisonQuery } from "./comparison-query.ts";
import { Exporters } from "./export/exporters.ts";
import { LogCollector } from "./log-collector.ts";
import { logLine, MonotonicClock } from "./log-journal.ts";
import { LogQuery } from "./log-query.ts";
import { takeMetrics } from "./metrics/otlp-metrics.ts";
import { PlatformMetrics } from "./metrics/platform-metrics.ts";
import { MetricRegistry } from "./metrics/registry.ts";
import { countRequests } from "./metrics/request-metrics.ts";
import { ObjectiveQuery } from "./objective-query.ts";
import { listenForOtlpGrpc } from "./otlp/otlp-grpc.ts";
import { listenForOtlpHttp } from "./otlp/otlp-http.ts";
import { OtlpIntake } from "./otlp/otlp-intake.ts";
import { isScraper } from "./otlp/sender.ts";
import { PolicyFile } from "./policy-file.ts";
import { RequestReceiver } from "./request-receiver.ts";
import { SqlQuery, type SqlQuestion } from "./sql-query.ts";
import { TelemetryStore } from "./store/telemetry-store.ts";
import { startTelemetryServer } from "./telemetry-server.ts";
import { type TraceFilter, TraceQuery } from "./trace-query.ts";
import { TrafficQuery } from "./traffic-query.ts";
import { UsageQuery, type UsageQuestion } from "./usage/usage-query.ts";
import { listenForUsage } from "./usage/usage-server.ts";

export interface TelemetryOptions {
  readonly dir: string;
  readonly logSourcesDir: string;
  readonly socket: string;
  /** Its path; or one that is held for us, and listens already. */
  readonly requestSocket: string | { readonly fd: number };
  readonly usageSocket: string;
  /** Signs the tokens of senders. */
  readonly key: Buffer;
  readonly otlp: { readonly host: string; readonly httpPort: number; readonly grpcPort: number };
  readonly edgeUid: number | undefined;
  readonly now: () => number;
  /** Where the control plane says how long what is kept. */
  readonly policyFile: string;
  readonly isSource: (file: string) => boolean;
  readonly punchHole: (path: string, bytes: number) => Promise<void>;
  readonly onProblem: (what: string, error: unknown) => void;
  /** Nothing works any more; a fresh start will. */
  readonly onDead: (why: string) => void;
}

export interface Telemetry {
  close(): Promise<void>;
}

const EDGE = {
  environment: "platform",
  app: "",
  service: "edge",
  release: 0,
  instance: "edge",
  level: "",
};

const droppedText = (dir: string, signal: Signal, rows: number): string =>
  `the disk of ${dir} is full: ${rows} rows of ${signal}, the oldest, were removed`;

export async function startTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  const { now, onProblem } = options;
  const policies = new PolicyFile(options.policyFile);
  let platform: PlatformMetrics | undefined;
  const store = await TelemetryStore.open({
    ...options,
    policies: () => policies.read(),
    onDropped: (signal, rows) => {
      platform?.drop("platform", `${signal}_of_the_past`, rows);
      onProblem(droppedText(options.dir, signal, rows), undefined);
    },
    onUnreadable: (signal, lines, copy) => {
      platform?.drop("platform", `${signal}_unreadable`, lines);
      onProblem(`${lines} lines of ${signal} could not be read; they are in ${copy}`, undefined);
    },
  });
  const { logs, requests } = store.signals;
  const clock = new MonotonicClock(now);
  const receiver = requestReceiver(options, store, clock);
  const collector = new LogCollector({
    dir: options.logSourcesDir,
    offsets: logs.offsets(),
    append: (lines, mark) => store.append("logs", lines, mark),
    clock,
    now,
    punchHole: options.punchHole,
    onSkipped: (app, bytes) => metrics.drop(app, "log_bytes", bytes),
  });
  const registry = new MetricRegistry(now);
  countRequests(requests, store.database, registry);
  const metrics = new PlatformMetrics(registry, store);
  platform = metrics;
  const intake = otlpIntake(options, store, registry, metrics);
  const { host, httpPort, grpcPort } = options.otlp;
  const counted = {
    isScraper: (given: string | undefined) => isScraper(given, options.key),
    render: () => metrics.render(receiver.lost),
  };
  const browsers = await listenForUsage({
    ...options,
    socket: options.usageSocket,
    append: (lines) => store.append("usage", lines),
    onDropped: (app, events) => metrics.drop(app, "usage_events", events),
  });
  const http = await listenForOtlpHttp(intake, counted, { host, port: httpPort });
  const grpc = await listenForOtlpGrpc(intake, { host, port: grpcPort });
  await receiver.listen();
  collector.start((error) => onProblem("logs could not be collected", error));
  const hours = new HourSummaries({ ...options, store });
  hours.start((error) => onProblem("what is usual could not be learned", error));
  const exporters = new Exporters({
    ...options,
    store,
    registry,
    onLost: (name, signal, records) => metrics.drop(`export ${name}`, signal, records),
  });
  await answerQuestions(options, { store, hours, receiver, collector, metrics, exporters });
  return {
    close: async () => {
      hours.stop();
      grpc.forceShutdown();
      http.close();
      http.closeAllConnections();
      browsers.close();
      browsers.closeAllConnections();
      await collector.stop();
      await receiver.close();
      await exporters.close();
      await store.close();
    },
  };
}

function requestReceiver(
  { requestSocket, edgeUid, onProblem }: TelemetryOptions,
  store: TelemetryStore,
  clock: MonotonicClock,
): RequestReceiver {
  return new RequestReceiver({
    socket: requestSocket,
    edgeUid,
    append: (lines) => store.append("requests", lines),
    onMessage: (text) =>
      void store
        .append("logs", logLine(EDGE, clock.take(1), text))
        .catch((error: unknown) => onProblem("a message of the edge could not be kept", error)),
    onProblem: (error) => onProblem("request records could not be kept", error),
  });
}

function otlpIntake(
  { key, now }: TelemetryOptions,
  store: TelemetryStore,
  registry: MetricRegistry,
  platform: PlatformMetrics,
): OtlpIntake {
  return new OtlpIntake({
    key,
    now,
    appendSpans: (lines) => store.append("spans", lines),
    appendLogs: (lines) => store.append("logs", lines),
    takeMetrics: (sender, request) => takeMetrics(registry, sender, request),
    onRefused: ({ environment, app }, signal) =>
      platform.drop(`${environment}/${app}`, `otlp_${signal}`, 1),
  });
}

/** What questions are answered from. */
interface Parts {
  readonly store: TelemetryStore;
  readonly hours: HourSummaries;
  readonly receiver: RequestReceiver;
  readonly collector: LogCollector;
  readonly metrics: PlatformMetrics;
  readonly exporters: Exporters;
}

function answerQuestions(
  { socket, now }: TelemetryOptions,
  { store, hours, receiver, collector, metrics, exporters }: Parts,
): Promise<void> {
  const traffic = new TrafficQuery(store);
  const comparison = new ComparisonQuery(store);
  const objectives = new ObjectiveQuery(store);
  const traces = new TraceQuery(store);
  const usage = new UsageQuery(store);
  const baselines = new BaselineQuery(hours);
  return startTelemetryServer({
    socket,
    logs: new LogQuery(store, now, () => collector.collect()),
    answers: {
      "/": async () => ({ ok: true, lostRequests: receiver.lost }),
      "/platform": async (report: PlatformReport) => {
        metrics.observe(report);
        exporters.configure(report.exports);
        return { ok: true };
      },
      "/traffic": async ({ sinceMs }: { sinceMs: number }) => {
        await receiver.flush();
        return traffic.summarize(now() - sinceMs, now());
      },
      "/comparison": async (question: ComparisonQuestion) => {
        await receiver.flush();
        return comparison.compare(question);
      },
      "/objective": async (question: ObjectiveQuestion) => {
        await receiver.flush();
        return objectives.count(question);
      },
      "/traces": async (filter: TraceFilter) => {
        await receiver.flush();
        return traces.find(filter);
      },
      "/usage": async (question: UsageQuestion) => {
        await receiver.flush();
        return usage.report(question);
      },
      "/exports": async () => exporters.states(),
      "/exports/test": async (target: ExportTarget) => exporters.test(target),
      "/anomalies": async (question: AnomalyQuestion) => {
        await receiver.flush();
        return baselines.anomalies(question);
      },
      "/query": async (question: SqlQuestion) => {
        await receiver.flush();
        return new SqlQuery(store).ask(question);
      },
      "/trace": async ({ traceId }: { traceId: string }) => traces.get(traceId),
    },
  });
}
