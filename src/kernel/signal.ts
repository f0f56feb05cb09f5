// The signals that leave the data plane, as their writers and the telemetry process agree on them.
// A request record is one line, values between tabs, in the order of REQUEST_COLUMNS.

export const REQUEST_COLUMNS = [
  "pool", // production.storefront.web.a; the listener where no pool was chosen
  "instance", // production.storefront.web.r12.1, or <NOSRV> where no instance got it
  "route", // storefront.localhost/api, or internal
  "client",
  "method",
  "host",
  "path",
  "query",
  "version",
  "status",
  "queueMs",
  "connectMs",
  "responseMs",
  "totalMs",
  "bytesIn",
  "bytesOut",
  "ending", // HAProxy's termination state
  "retries",
  "requestId", // 32 hex digits: microseconds since the epoch, then chance, which names the edge's span; the trace's id too, where none was continued
  "continuedTrace", // <trace>-<span> of the caller, where it sent a valid traceparent, or -
  "userAgent",
  "release", // of the slot that it was for: also where no instance of it was left to get it
  "urlBytes", // length of path and query, which are kept to a bound
] as const;

export type RequestColumn = (typeof REQUEST_COLUMNS)[number];

/** What is said of a log file beside it, in `<file>.json`. */
export interface LogSource {
  /** `production/storefront`, or `engine/edge` */
  readonly app: string;
  readonly service: string;
  readonly release: number;
  readonly instance: string;
  readonly role: string;
  /** Nothing more will be written to it. */
  readonly ended?: boolean;
}

export interface LogLine {
  /** ms since the epoch, with a fraction, when the line was collected */
  readonly time: number;
  readonly environment: string;
  /** Empty for engines. */
  readonly app: string;
  readonly service: string;
  readonly release: number;
  readonly instance: string;
  /** Empty where the line says none. */
  readonly level: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly text: string;
  /** It matches nothing, and stands beside one that does. */
  readonly isContext?: boolean;
}

/** What the edge saw of one service and release in a stretch of time. */
export interface TrafficSummary {
  readonly app: string;
  readonly service: string;
  readonly release: number;
  readonly requests: number;
  readonly errors: number;
  readonly requestsPerSecond: number;
  /** Milliseconds, of all requests. */
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
}

/** Of an environment, or of what belongs to none. */
export const PLATFORM = "platform";

/** Least to most severe. */
export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"] as const;

export interface LogFilter {
  /** ms since the epoch; `to` undefined: up to now. */
  readonly from: number;
  readonly to?: number | undefined;
  readonly environment?: string | undefined;
  /** Beside an environment's, also what belongs to none: for who may look at the installation. */
  readonly withPlatform?: boolean | undefined;
  /** Empty: engines. */
  readonly app?: string | undefined;
  readonly service?: string | undefined;
  readonly release?: number | undefined;
  readonly instance?: string | undefined;
  /** This one and more severe ones. */
  readonly level?: string | undefined;
  /** Somewhere in the line, upper or lower case. */
  readonly text?: string | undefined;
  /** Of lines of JSON: key → value. */
  readonly fields?: Readonly<Record<string, string>> | undefined;
  readonly traceId?: string | undefined;
  readonly limit: number;
  /** The first ones after this moment (ms since the epoch), instead of the last ones. */
  readonly after?: number | undefined;
  /** With so many lines of the same instance before and after each. */
  readonly context?: number | undefined;
}

/** A request that the edge let in: the beginning of a trace. */
export interface TraceSummary {
  readonly traceId: string;
  /** ms since the epoch */
  readonly time: number;
  readonly app: string;
  readonly service: string;
  readonly release: number;
  /** Method and path. */
  readonly name: string;
  readonly status: number;
  /** As `failed` of the table `requests` says. */
  readonly failed: boolean;
  readonly durationMs: number;
}

export interface TraceSpan {
  /** ms since the epoch, with a fraction */
  readonly time: number;
  readonly durationMs: number;
  readonly environment: string;
  readonly app: string;
  readonly service: string;
  readonly release: number;
  readonly instance: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: string;
  readonly status: string;
  /** The instrumentation that made it; `edge` for the edge's own. */
  readonly scope: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly events: readonly unknown[];
}

/** Below each route: what to do about an alert, for whoever is woken by one. */
export const RUNBOOKS = "/_holdfast/runbooks/";
/** Below a service's route: where the edge serves the script that pages load, and takes reports. */
export const USAGE_SCRIPT = "/_holdfast/usage.js";
export const USAGE_REPORTS = "/_holdfast/usage";

/** What the users of an app did and saw, as their browsers reported it. */
export interface UsageReport {
  readonly views: number;
  readonly visitors: number;
  /** Most views first, slowest by LCP first, most errors and failures first. */
  readonly pages: readonly PageUsage[];
  readonly slowest: readonly PageUsage[];
  readonly failing: readonly PageUsage[];
  readonly releases: readonly ReleaseUsage[];
  readonly referrers: readonly { readonly host: string; readonly views: number }[];
  readonly browsers: readonly { readonly browser: string; readonly views: number }[];
  readonly errors: readonly {
    readonly text: string;
    readonly page: string;
    readonly release: number;
    readonly count: number;
    /** ms since the epoch */
    readonly last: number;
  }[];
  readonly feedback: readonly {
    /** ms since the epoch */
    readonly time: number;
    readonly page: string;
    readonly release: number;
    /** 1 to 5, where one was given */
    readonly rating: number | undefined;
    readonly text: string;
  }[];
}

/** 75th percentiles, as web vitals are judged; undefined where no browser reported any. */
export interface WebVitals {
  readonly lcpMs: number | undefined;
  readonly inpMs: number | undefined;
  readonly cls: number | undefined;
}

export interface PageUsage extends WebVitals {
  readonly page: string;
  readonly views: number;
  readonly visitors: number;
  /** Errors of scripts in browsers. */
  readonly errors: number;
  /** Requests for it that were answered with a 5xx, or not at all. */
  readonly failed: number;
}

export interface ReleaseUsage extends WebVitals {
  readonly service: string;
  readonly release: number;
  readonly views: number;
  readonly errors: number;
}

/** One service in one hour. */
export interface HourSummary {
  /** Its beginning, ms since the epoch. */
  readonly hour: number;
  readonly environment: string;
  readonly app: string;
  readonly service: string;
  readonly requests: number;
  readonly errors: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
}

/** Something that is not as it usually is at that hour of the week. */
export interface Departure {
  /** Beginning of the hour, ms since the epoch. */
  readonly hour: number;
  readonly environment: string;
  readonly app: string;
  readonly service: string;
  /** Requests per hour; share of errors, 0 to 1; 95th percentile of latency, ms. */
  readonly what: "requests" | "errors" | "p95";
  readonly value: number;
  readonly usual: number;
  /** Between these two it would not have been said. */
  readonly low: number;
  readonly high: number;
  /** Deviations from the usual. */
  readonly score: number;
}

export interface AnomalyReport {
  /** Newest first. */
  readonly departures: readonly Departure[];
  /** How many hours of each service's past are known. */
  readonly known: readonly {
    readonly app: string;
    readonly service: string;
    readonly hours: number;
  }[];
}

/** Answer of a question in SQL. */
export interface ResultTable {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly unknown[])[];
}

/** What an instance takes of the machine. */
export interface ResourceUse {
  /** Since it was started, of all cores. */
  readonly cpuSeconds: number;
  readonly memoryBytes: number;
  /** Undefined where there is no limit. */
  readonly memoryLimitBytes?: number;
}

/** What an instance uses, and how it is; no figures where it does not run. */
export interface InstanceUsage extends Partial<ResourceUse> {
  readonly environment: string;
  readonly app: string;
  readonly service: string;
  readonly release: number;
  readonly instance: string;
  /** Cores it may have. */
  readonly cpuLimit: number;
  readonly restarts: number;
  readonly isReady: boolean;
  /** It is one of those that should serve now. */
  readonly isWanted: boolean;
  /** It ends again and again. */
  readonly isLooping: boolean;
  /** When the kernel last ended it for its memory; ms since the epoch. */
  readonly memoryKilledAt?: number;
}

/** How the last run of a job ended, as far as somebody has to know. */
export interface JobOutcome {
  readonly environment: string;
  readonly app: string;
  readonly job: string;
  readonly isFailed: boolean;
  /** It did not run when it should. */
  readonly isMissed: boolean;
}

/** Upper bounds, in milliseconds, by which the time that answers take is counted. */
export const LATENCY_BOUNDS_MS = [
  5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000,
] as const;

/** What can be sent onward by OTLP. */
export const EXPORT_SIGNALS = ["logs", "traces", "metrics"] as const;
export type ExportSignal = (typeof EXPORT_SIGNALS)[number];

/** A place that gets an environment's telemetry too. */
export interface ExportTarget {
  /** `production/vendor` */
  readonly name: string;
  readonly environment: string;
  /** Base URL, as OTEL_EXPORTER_OTLP_ENDPOINT has it. */
  readonly endpoint: string;
  readonly signals: readonly ExportSignal[];
  /** Secret, mostly. Where they are not known nothing is sent, and what is to be sent waits. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** How an export does, in records since telemetry was started. */
export interface ExportState {
  readonly sent: number;
  readonly waiting: number;
  readonly waitingBytes: number;
  /** Refused, or gone because too much waited. */
  readonly lost: number;
  /** What the last answer was, where it was none. */
  readonly problem?: string;
}

/** What the control plane tells telemetry a few times a minute, for alerts. */
export interface PlatformReport {
  readonly instances: readonly InstanceUsage[];
  readonly engines: readonly {
    readonly kind: string;
    readonly name: string;
    readonly isReady: boolean;
  }[];
  readonly certificates: readonly {
    readonly host: string;
    readonly expiresAt: number;
    /** Another was given for it, which can't be used. */
    readonly isRefused?: boolean;
  }[];
  readonly jobs?: readonly JobOutcome[];
  readonly exports: readonly ExportTarget[];
}

/** What is kept, each in a table of its own. */
export const SIGNALS = ["logs", "requests", "spans", "usage"] as const;
export type Signal = (typeof SIGNALS)[number];

/** How long telemetry of an environment is kept, and what of it is about people. */
export interface TelemetryPolicy {
  /** By signal: what is older goes, and the oldest where there is more. */
  readonly retention: Readonly<Record<Signal, { readonly days: number; readonly bytes: number }>>;
  readonly privacy: {
    /** `cut`: the last part of an address is not kept. */
    readonly addresses: "keep" | "cut" | "drop";
    readonly userAgents: "keep" | "drop";
    /** `names`: parameters without their values. */
    readonly queryStrings: "keep" | "names" | "drop";
  };
}

const GIB = 1024 ** 3;

export const DEFAULT_POLICY: TelemetryPolicy = {
  retention: {
    logs: { days: 14, bytes: 4 * GIB },
    requests: { days: 30, bytes: 4 * GIB },
    spans: { days: 7, bytes: 2 * GIB },
    usage: { days: 30, bytes: GIB },
  },
  privacy: { addresses: "cut", userAgents: "keep", queryStrings: "names" },
};

/** Environment → its policy, where it has one of its own. */
export type TelemetryPolicies = Readonly<Record<string, TelemetryPolicy>>;

/**
 * Names of metrics that no app may send or expose, as a regular expression for the whole name: what
 * others count, and what rules make of it. An app that could say it too would raise alarms, or hide
 * them.
 */
export const RESERVED_METRICS =
  "(holdfast[_:]|node_|haproxy_|pg_|redis_|scrape_).*|up|ALERTS|ALERTS_FOR_STATE";

/** A request with a rollout's key in this header goes to its candidate, whatever the share. */
export const CANDIDATE_HEADER = "x-holdfast-candidate";

/** Quantiles are told at these levels: 0, 0.005, … 1. */
export const QUANTILE_STEPS = 200;

/** What the requests that two releases answered in a stretch of time say about both. */
export interface ComparisonQuestion {
  readonly environment: string;
  readonly app: string;
  readonly releases: readonly number[];
  /** ms since the epoch; requests that ended after `from`, up to `through`. */
  readonly from: number;
  readonly through: number;
  /**
   * Only requests that began then or later. What fails ends sooner than what succeeds: of two releases
   * that are as good, the one that has just got its share would show failures first.
   */
  readonly beganFrom?: number;
  /** Latencies only of requests that began after it. */
  readonly latencyFrom: number;
  /** Service → release → bounds in ms, over which answers are counted. */
  readonly bounds: Readonly<Record<string, Readonly<Record<number, readonly number[]>>>>;
  /** With quantiles: they cost more. */
  readonly quantiles: boolean;
  /** With sums over clients and slices of time: they cost more too. */
  readonly clustering?: boolean;
  /** With counts by route. */
  readonly routes?: boolean;
  /** Service → bytes below and above which a whole answer is far smaller or larger than usual. */
  readonly sizes?: Readonly<Record<string, readonly [small: number, large: number]>>;
}

/** Latencies are judged at these quantiles. */
export const LATENCY_LEVELS = [0.5, 0.9, 0.95, 0.99, 0.999] as const;

/** What is unusual about an answer that is no error: 3xx, 4xx, far smaller or larger than usual. */
export const ODD_ANSWERS = ["redirects", "refusals", "small", "large"] as const;
export type OddAnswer = (typeof ODD_ANSWERS)[number];

/** How many there were, and how many of them were bad. */
export interface Counted {
  readonly total: number;
  readonly bad: number;
}

/** Sums over clusters of one arm (its clients, or slices of time): requests, bad ones, their products. */
export interface ClusterSums {
  readonly clusters: number;
  readonly total: number;
  readonly bad: number;
  readonly totalSquared: number;
  readonly badTotal: number;
  readonly badSquared: number;
}

/** For each kind of cluster one. */
export interface Clustering {
  readonly errors: readonly ClusterSums[];
  /** Of answers slower than each of the release's own quantiles at LATENCY_LEVELS. */
  readonly slow: readonly (readonly ClusterSums[])[];
  readonly odd?: Readonly<Record<OddAnswer, readonly ClusterSums[]>>;
}

/** One service of one release. Requests of testers, who chose the release, are left out. */
export interface ArmCounts {
  readonly service: string;
  readonly release: number;
  readonly requests: number;
  /** 5xx, and those where the instance gave no answer. */
  readonly errors: number;
  /** Requests whose trace has a line or record of level error or worse. */
  readonly logErrors: number;
  /**
   * Answers that are no error, and those who waited for a second and more and got none; how many of
   * them took longer than each bound.
   */
  readonly timed: number;
  readonly over: readonly number[];
  /** Age in ms of requests that wait for an answer right now, from a second on. */
  readonly unanswered?: readonly number[];
  readonly clustering?: Clustering;
  readonly odd?: Readonly<Record<OddAnswer, Counted>>;
  /** By method and path, without what names one user or order: those that failed or were refused. */
  readonly routes?: Readonly<Record<string, Counted>>;
  /** Bytes of whole answers, with their headers, at 5 and 95 %; where quantiles were asked for. */
  readonly sizes?: readonly [low: number, high: number];
  /**
   * Of the natural logarithms of how long answers took (ms), those of fresh instances too: how many,
   * their sum, and that of their squares.
   */
  readonly logMs?: { readonly count: number; readonly sum: number; readonly squares: number };
  /** ms, at the levels 0, 1/200, … 1; empty where they were not asked for or nothing was timed. */
  readonly quantiles: readonly number[];
}
