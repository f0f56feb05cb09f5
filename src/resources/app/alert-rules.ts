// The rules by which metrics become alerts: on what users feel, and on what will make them feel it.
// Pure: from objectives to rules; a driver writes them down for Prometheus.
//
// Error budgets are watched with several windows and burn rates at once, as the SRE workbook has it
// (chapter 5): a long window that shows it matters, a short one that shows it still goes on.

import { OBJECTIVE_DAYS, type Objective } from "./objectives.ts";

export interface RecordingRule {
  readonly record: string;
  readonly expr: string;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface AlertRule {
  readonly alert: string;
  readonly expr: string;
  /** How long it must hold. */
  readonly for?: string;
  /** How long it must be over: what comes and goes is one alert. */
  readonly keep_firing_for?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface RuleGroup {
  readonly name: string;
  readonly interval: string;
  readonly rules: readonly (RecordingRule | AlertRule)[];
}

const BY = "environment, app, service";
const REQUESTS = 'holdfast_requests_total{app!="",from="outside"}';
const ERRORS = 'holdfast_requests_total{app!="",from="outside",code=~"5xx|none"}';
const WINDOWS = ["5m", "30m", "1h", "6h", "3d"] as const;

/** Burn rate × long window = share of the month's budget that is gone when it fires. */
const BURNS = [
  { long: "1h", short: "5m", known: "15m", factor: 14.4, severity: "page", spent: "2 %" },
  { long: "6h", short: "30m", known: "40m", factor: 6, severity: "page", spent: "5 %" },
  { long: "3d", short: "6h", known: "7h", factor: 1, severity: "ticket", spent: "10 %" },
] as const;

/** Fewer bad requests are no pattern: of ten requests one that fails pages nobody. */
const BAD_MIN = 5;

/** What comes and goes within minutes is one alert. */
const FLAP = "2m";
/** What explains others stays until those are over, too. */
const BEHIND = "3m";

/**
 * What an alert is a sign of. Alerts of one cause and one app are one notification; a silence for one
 * of them covers all.
 */
export type AlertCause =
  | "service"
  | "job"
  | "store"
  | "edge"
  | "certificate"
  | "disk"
  | "machine"
  | "telemetry"
  | "backlog";

const alert = (
  name: string,
  rule: {
    readonly expr: string;
    readonly cause: AlertCause;
    readonly for?: string;
    readonly keepFor?: string;
    readonly severity: "page" | "ticket";
    readonly labels?: Readonly<Record<string, string>>;
    readonly summary: string;
    readonly runbook?: string;
  },
): AlertRule => ({
  alert: name,
  expr: rule.expr,
  ...(rule.for !== undefined && { for: rule.for }),
  ...(rule.keepFor !== undefined && { keep_firing_for: rule.keepFor }),
  labels: { severity: rule.severity, cause: rule.cause, ...rule.labels },
  annotations: {
    summary: rule.summary,
    // How long before it fired it began.
    ...(rule.for !== undefined && { held: rule.for }),
    query: rule.expr,
    runbook: `docs/runbooks/${rule.runbook ?? kebab(name)}.md`,
  },
});

const kebab = (name: string): string => name.replaceAll(/(?<=[a-z])(?=[A-Z])/g, "-").toLowerCase();

/** Of requests that no release answered there is none to name. */
export const OF_RELEASE =
  '{{ with $labels.release }}{{ if ne . "0" }} (release {{ . }}){{ end }}{{ end }}';
const WHO = "{{ $labels.environment }}/{{ $labels.app }} {{ $labels.service }}";

/** What a worker may be behind with. */
export interface Backlog {
  readonly environment: string;
  readonly app: string;
  readonly service: string;
  readonly metric: string;
  readonly max: number;
}

export function ruleGroups(
  objectives: readonly Objective[],
  backlogs: readonly Backlog[] = [],
): readonly RuleGroup[] {
  return [
    { name: "impact", interval: "5s", rules: impactRules() },
    {
      name: "health",
      interval: "15s",
      rules: [
        ...healthRules(),
        ...certificateRules(),
        ...jobRules(),
        ...countingRules(),
        ...machineRules(),
      ],
    },
    { name: "backlogs", interval: "15s", rules: backlogs.map(backlogRule) },
    { name: "budgets", interval: "30s", rules: objectives.flatMap(budgetRules) },
  ].filter(({ rules }) => rules.length > 0);
}

/** One of the bounds by which answers are counted. */
export const SLOW_S = 2.5;

// Seconds after it begins: a window of half a minute, by release, so that an alert names the one.
function impactRules(): AlertRule[] {
  const by = `${BY}, release`;
  const errors = `sum by (${by}) (rate(${ERRORS}[30s]))`;
  const requests = `sum by (${by}) (rate(${REQUESTS}[30s]))`;
  const timed = 'app!="",from="outside"';
  const quick = `sum by (${by}) (rate(holdfast_request_duration_seconds_bucket{${timed},le="${SLOW_S}"}[1m]))`;
  const all = `sum by (${by}) (rate(holdfast_request_duration_seconds_count{${timed}}[1m]))`;
  return [
    alert("HighErrorRate", {
      expr: `(${errors} / ${requests} > 0.05) and ${requests} > 0.2 and sum by (${by}) (increase(${ERRORS}[2m])) >= ${BAD_MIN}`,
      cause: "service",
      for: "10s",
      keepFor: FLAP,
      severity: "page",
      summary: `${WHO} fails {{ $value | humanizePercentage }} of its requests${OF_RELEASE}`,
    }),
    alert("SlowResponses", {
      // Counted, not guessed between two bounds that are far apart.
      expr: `(1 - ${quick} / ${all} > 0.05) and (${all} - ${quick}) * 60 >= ${BAD_MIN}`,
      cause: "service",
      for: "1m",
      keepFor: FLAP,
      severity: "page",
      summary: `${WHO} takes more than ${SLOW_S} s for {{ $value | humanizePercentage }} of its requests${OF_RELEASE}`,
    }),
  ];
}

function jobRules(): AlertRule[] {
  const job = "job {{ $labels.job_name }} of {{ $labels.environment }}/{{ $labels.app }}";
  return [
    alert("JobFailed", {
      cause: "job",
      expr: "holdfast_job_failed == 1",
      severity: "page",
      summary: `the last run of ${job} failed`,
    }),
    alert("JobMissed", {
      cause: "job",
      expr: "holdfast_job_missed == 1",
      severity: "page",
      summary: `${job} did not run when it should`,
    }),
  ];
}

function certificateRules(): AlertRule[] {
  return [
    alert("CertificateNearExpiry", {
      cause: "certificate",
      expr: "holdfast_certificate_expires_seconds - time() < 14 * 86400",
      for: "1h",
      severity: "ticket",
      summary: "the certificate of {{ $labels.host }} ends in {{ $value | humanizeDuration }}",
    }),
    alert("CertificateEnding", {
      cause: "certificate",
      expr: "holdfast_certificate_expires_seconds - time() < 3 * 86400",
      for: "5m",
      severity: "page",
      summary: "the certificate of {{ $labels.host }} ends in {{ $value | humanizeDuration }}",
      runbook: "certificate-near-expiry",
    }),
    alert("CertificateRefused", {
      cause: "certificate",
      expr: "holdfast_certificate_refused == 1",
      for: "1m",
      severity: "page",
      summary: "the certificate that was given for {{ $labels.host }} can't be used",
    }),
  ];
}

function healthRules(): AlertRule[] {
  const ratio = `holdfast_instance_memory_bytes / (holdfast_instance_memory_limit_bytes > 0)`;
  return [
    alert("CrashLoop", {
      keepFor: FLAP,
      cause: "service",
      expr: "max by (environment, app, service, release) (holdfast_instance_looping) > 0",
      severity: "page",
      summary: `${WHO} is restarting repeatedly${OF_RELEASE}`,
    }),
    alert("InstanceDown", {
      keepFor: FLAP,
      cause: "service",
      expr: "holdfast_instance_wanted == 1 and holdfast_instance_ready == 0",
      for: "1m",
      severity: "page",
      summary: "{{ $labels.instance }} is not ready",
    }),
    alert("StoreDown", {
      keepFor: BEHIND,
      cause: "store",
      expr: 'holdfast_engine_ready{kind=~"database|cache"} == 0',
      for: "15s",
      severity: "page",
      summary: "the {{ $labels.kind }} of {{ $labels.environment }} is down",
    }),
    alert("EdgeDown", {
      keepFor: BEHIND,
      cause: "edge",
      expr: 'holdfast_engine_ready{kind="edge"} == 0',
      for: "15s",
      severity: "page",
      summary: "the edge is down: nobody is served",
    }),
    alert("MemoryNearLimit", {
      cause: "service",
      expr: `${ratio} > 0.9`,
      for: "5m",
      severity: "ticket",
      summary:
        "{{ $labels.instance }} has {{ $value | humanizePercentage }} of the memory it may have",
    }),
    alert("MemoryKill", {
      cause: "service",
      expr: "holdfast_instance_memory_limit_bytes and on(instance) (time() - holdfast_instance_memory_killed_seconds < 600)",
      severity: "page",
      summary:
        "{{ $labels.instance }} was ended by the kernel: it took more than the {{ $value | humanize1024 }}B of memory that it may have",
    }),
  ];
}

// Of what counts all the rest.
function countingRules(): AlertRule[] {
  return [
    alert("TelemetryLoss", {
      cause: "telemetry",
      expr: "sum by (app, what) (increase(holdfast_telemetry_dropped_total[10m])) > 0",
      severity: "ticket",
      summary: "telemetry of {{ $labels.app }} was dropped: {{ $value }} {{ $labels.what }}",
    }),
    alert("ConnectionsNearLimit", {
      cause: "store",
      expr: "sum by (environment) (pg_stat_activity_count) / on(environment) max by (environment) (pg_settings_max_connections) > 0.9",
      for: "1m",
      severity: "page",
      summary:
        "the database of {{ $labels.environment }} has {{ $value | humanizePercentage }} of its connections in use",
    }),
    alert("CountingDown", {
      cause: "telemetry",
      expr: 'up{job=~"edge|host|postgres|redis"} == 0',
      for: "5m",
      severity: "ticket",
      summary: "no metrics from {{ $labels.job }} {{ $labels.environment }}",
    }),
    alert("TelemetryDown", {
      cause: "telemetry",
      expr: 'up{job="telemetry"} == 0',
      for: "30s",
      severity: "page",
      summary: "the telemetry process does not answer: alerts are blind",
    }),
  ];
}

function backlogRule({ metric, max, ...whose }: Backlog): AlertRule {
  return alert("WorkerBacklog", {
    cause: "backlog",
    expr: `max(${metric}${selectorOf({ environment: whose.environment, app: whose.app })}) > ${max}`,
    for: "2m",
    severity: "ticket",
    labels: whose,
    summary: `${whose.environment}/${whose.app} ${whose.service} is behind: {{ $value }} wait (at most ${max})`,
  });
}

function machineRules(): AlertRule[] {
  const free = 'node_filesystem_avail_bytes{holds="holdfast"}';
  return [
    alert("DiskFilling", {
      cause: "disk",
      expr: `predict_linear(${free}[1h], 24 * 3600) < 0 and ${free} / node_filesystem_size_bytes{holds="holdfast"} < 0.4`,
      for: "10m",
      severity: "ticket",
      summary: "{{ $labels.mountpoint }} will be full within a day at the trend of the last hour",
    }),
    alert("DiskFull", {
      cause: "disk",
      expr: `${free} / node_filesystem_size_bytes{holds="holdfast"} < 0.05`,
      for: "1m",
      severity: "page",
      summary: "{{ $labels.mountpoint }} has {{ $value | humanizePercentage }} left",
    }),
    alert("MachineSaturated", {
      cause: "machine",
      expr: 'avg(rate(node_cpu_seconds_total{mode="idle"}[5m])) < 0.05',
      for: "10m",
      severity: "ticket",
      summary: "the machine's processors have been busy for ten minutes",
    }),
    alert("ClockOff", {
      cause: "machine",
      expr: "abs(node_timex_offset_seconds) > 0.5 or node_timex_maxerror_seconds > 16",
      for: "10m",
      severity: "ticket",
      summary: "the machine's clock is {{ $value | humanizeDuration }} off, or nobody sets it",
    }),
  ];
}

function budgetRules(objective: Objective): (RecordingRule | AlertRule)[] {
  const { environment, app, service, kind, target } = objective;
  const whose = { environment, app, service };
  const name = `holdfast:${kind}:bad_ratio`;
  const selector = selectorOf(whose);
  const recorded = WINDOWS.map((window) => ({
    record: `${name}${window}`,
    expr: badRatio(objective, window),
    labels: whose,
  }));
  const budget = Number((1 - target).toFixed(6));
  // Errors stay in these windows after HighErrorRate resolved: they would page a second time.
  const told = selectorOf(whose, 'alertname=~"HighErrorRate|SlowResponses",alertstate="firing"');
  const burns = BURNS.map(({ long, short, known, factor, severity, spent }) =>
    alert("ErrorBudgetBurn", {
      expr: `${name}${long}${selector} > ${round(factor * budget)} and ${name}${short}${selector} > ${round(factor * budget)} and on() ${bad(objective, long)} >= ${BAD_MIN} unless on() count(max_over_time(ALERTS${told}[${known}])) > 0`,
      cause: "service",
      // What tells of users at once goes first.
      for: "1m",
      severity,
      labels: { ...whose, objective: kind, window: long },
      summary: `${environment}/${app} ${service} spends its ${kind} budget: at this rate ${spent} of ${OBJECTIVE_DAYS} days in ${long}`,
    }),
  );
  return [...recorded, ...burns];
}

/** Share of requests in the window that were not good. Undefined where there were none. */
function badRatio(objective: Objective, window: string): string {
  return `(${bad(objective, window)}) / (${all(objective, window)})`;
}

/** How many requests there were in the window. */
function all({ environment, app, service }: Objective, window: string): string {
  return `sum(increase(holdfast_requests_total${selectorOf({ environment, app, service, from: "outside" })}[${window}]))`;
}

/** How many of them were not good. */
function bad(objective: Objective, window: string): string {
  const { environment, app, service, kind, underSeconds } = objective;
  const whose = { environment, app, service, from: "outside" };
  const increase = (metric: string): string => `sum(increase(${metric}[${window}]))`;
  if (kind === "availability") {
    const failed = `holdfast_requests_total${selectorOf(whose, 'code=~"5xx|none"')}`;
    const total = `holdfast_requests_total${selectorOf(whose)}`;
    // Nothing failed is 0, not nothing.
    return `(${increase(failed)} or ${increase(total)} * 0)`;
  }
  const name = "holdfast_request_duration_seconds";
  const good = selectorOf({ ...whose, le: String(underSeconds) });
  return `(${increase(`${name}_count${selectorOf(whose)}`)} - ${increase(`${name}_bucket${good}`)})`;
}

const round = (value: number): number => Number(value.toFixed(6));

function selectorOf(labels: Readonly<Record<string, string>>, more = ""): string {
  const parts = Object.entries(labels).map(([key, value]) => `${key}="${value}"`);
  return `{${[...parts, ...(more ? [more] : [])].join(",")}}`;
}
