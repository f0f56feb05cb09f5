// Metrics, objectives and alerts: what Prometheus and Alertmanager say, as the platform's facts.

import { z } from "zod";
import { invalid } from "../kernel/error.ts";
import type { AppOperations } from "../operations/app-operations.ts";
import { objectiveView } from "../operations/error-budget.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import { APP, type Rollout, type RolloutReason } from "../resources/app/app.ts";
import { name as appName } from "../resources/app/manifest.ts";
import { alertsRoute, ruleLabels } from "./alert-views.ts";
import { type Route, route } from "./route.ts";

const PROMETHEUS = [
  "query",
  "query_range",
  "series",
  "labels",
  "metadata",
  "rules",
  "alerts",
  // What Grafana asks first: which Prometheus this is.
  "status/buildinfo",
] as const;
const PROMETHEUS_FORMS = ["query", "query_range", "series", "labels"] as const;
const texts = z.union([z.string(), z.array(z.string())]);
/** What Prometheus takes; anything else is not handed on. */
const fields = z.object({
  environment: appName
    .optional()
    .describe("Every selector is held to it; without it, all environments."),
  query: z.string().optional(),
  time: z.string().optional(),
  start: z.string().optional(),
  end: z.string().optional(),
  step: z.string().optional(),
  timeout: z.string().optional(),
  limit: z.string().optional(),
  lookback_delta: z.string().optional(),
  stats: z.string().optional(),
  "match[]": texts.optional(),
  metric: z.string().optional(),
  type: z.string().optional(),
});
type Fields = z.output<typeof fields>;
/** As Prometheus documents it; its own is not looked into here. */
const prometheusAnswer = z.looseObject({
  status: z.enum(["success", "error"]),
  data: z.unknown().optional(),
  warnings: z.array(z.string()).optional(),
});
const SILENCE_MAX_MS = 30 * 24 * 3_600_000;
const environment = appName.default("production");

export function monitoringRoutes(deps: OperationDeps, operations: AppOperations): Route[] {
  return [
    ...PROMETHEUS.map((path) =>
      route({
        method: "GET",
        path: `/v1/prometheus/api/v1/${path}`,
        summary: `Prometheus' own API: ${path}.`,
        query: fields,
        answers: prometheusAnswer,
        handle: ({ query }) => askPrometheus(deps, path, query),
      }),
    ),
    // Long questions come as forms; Grafana asks so by default.
    ...PROMETHEUS_FORMS.map((path) =>
      route({
        method: "POST",
        path: `/v1/prometheus/api/v1/${path}`,
        summary: `Prometheus' own API: ${path}, as a form.`,
        query: fields.pick({ environment: true }),
        body: fields.omit({ environment: true }),
        answers: prometheusAnswer,
        handle: ({ query, body }) => askPrometheus(deps, path, { ...body, ...query }),
      }),
    ),
    route({
      method: "GET",
      path: "/v1/prometheus/api/v1/label/{label}/values",
      summary: "Prometheus' own API: values of a label.",
      params: z.object({ label: z.string().regex(/^[a-zA-Z_][a-zA-Z0-9_]*$/) }),
      query: fields,
      answers: prometheusAnswer,
      handle: ({ params, query }) => askPrometheus(deps, `label/${params.label}/values`, query),
    }),
    route({
      method: "GET",
      path: "/v1/objectives",
      summary: "List objectives: attainment, remaining error budget, burn rate and main consumers.",
      query: z.object({ environment, app: appName.optional() }),
      handle: async ({ query }) => {
        operations.requireEnvironment(query.environment);
        if (query.app !== undefined) operations.getApp(query.environment, query.app);
        const own = deps
          .objectives()
          .filter((one) => one.environment === query.environment)
          .filter((one) => query.app === undefined || one.app === query.app);
        return { objectives: await Promise.all(own.map((one) => objectiveView(deps, one))) };
      },
    }),
    alertsRoute(deps, operations),
    deploysRoute(deps, operations),
    topRoute(deps, operations),
    ...silenceRoutes(deps),
  ];
}

function askPrometheus(deps: OperationDeps, path: string, { environment, ...rest }: Fields) {
  const given = Object.entries(rest).flatMap(([key, value]) =>
    value === undefined ? [] : [[key, value] as const],
  );
  // What says nothing of any environment is not held to one.
  const place = path === "status/buildinfo" ? undefined : environment;
  return deps.monitoring.ask(path, Object.fromEntries(given), place);
}

/** A release that was put in charge, or was not. */
export interface DeployView {
  readonly app: string;
  readonly release: number;
  readonly reason: RolloutReason;
  readonly outcome: NonNullable<Rollout["outcome"]> | "running";
  /** ms since the epoch: when it was asked for, and when it had all traffic or was given up */
  readonly startedAt: number;
  readonly endedAt?: number;
}

function deploysRoute(deps: OperationDeps, operations: AppOperations): Route {
  return route({
    method: "GET",
    path: "/v1/deploys",
    summary: "List the last twenty deploys and rollbacks of each app, oldest first.",
    query: z.object({
      environment,
      app: appName.optional(),
      sinceMs: z.coerce.number().min(0).default(0),
    }),
    handle: ({ query }) => {
      operations.requireEnvironment(query.environment);
      const from = query.sinceMs > 0 ? deps.clock.now() - query.sinceMs : 0;
      const deploys = deps.store
        .list(APP, `${query.environment}/`)
        .filter(
          ({ name }) => query.app === undefined || name === `${query.environment}/${query.app}`,
        )
        .flatMap(({ name, status }) =>
          [...(status?.rollout ? [status.rollout] : []), ...(status?.history ?? [])].map(
            (rollout) => deployView(name, rollout),
          ),
        );
      return {
        deploys: deploys
          .filter(({ startedAt, endedAt }) => (endedAt ?? startedAt) >= from)
          .sort((a, b) => a.startedAt - b.startedAt),
      };
    },
  });
}

const deployView = (
  name: string,
  { placement, reason, outcome, startedAt, endedAt }: Rollout,
): DeployView => ({
  app: name.split("/")[1] ?? name,
  release: placement.set.release,
  reason,
  outcome: outcome ?? "running",
  startedAt,
  ...(endedAt !== undefined && { endedAt }),
});

/** One service of one release, as it is now. */
export interface TopRow {
  readonly app: string;
  readonly service: string;
  readonly release: number;
  readonly ready: number;
  readonly wanted: number;
  readonly requestsPerSecond: number;
  /** Share of requests that failed. */
  readonly errorRatio: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  /** Cores. */
  readonly cpu?: number;
  readonly memoryBytes?: number;
}

const TOP_WINDOW = "30s";

function topRoute(deps: OperationDeps, operations: AppOperations): Route {
  return route({
    method: "GET",
    path: "/v1/top",
    summary: "Get current requests, errors, latency, CPU and memory by service and release.",
    query: z.object({ environment }),
    handle: async ({ query }) => {
      operations.requireEnvironment(query.environment);
      const own = `environment="${query.environment}"`;
      const by = "sum by (app, service, release)";
      const requests = `holdfast_requests_total{${own},app!=""`;
      const latency = (q: number): string =>
        `histogram_quantile(${q}, sum by (app, service, release, le) (rate(holdfast_request_duration_seconds_bucket{${own},app!=""}[${TOP_WINDOW}])))`;
      const questions = {
        requestsPerSecond: `${by} (rate(${requests}}[${TOP_WINDOW}]))`,
        errorsPerSecond: `${by} (rate(${requests},code=~"5xx|none"}[${TOP_WINDOW}]))`,
        p50: latency(0.5),
        p95: latency(0.95),
        ready: `${by} (holdfast_instance_ready{${own}})`,
        wanted: `${by} (holdfast_instance_wanted{${own}})`,
        cpu: `${by} (rate(holdfast_instance_cpu_seconds_total{${own}}[${TOP_WINDOW}]))`,
        memoryBytes: `${by} (holdfast_instance_memory_bytes{${own}})`,
      };
      const found = new Map<string, Record<string, number>>();
      await Promise.all(
        Object.entries(questions).map(async ([what, promql]) => {
          const answer = (await deps.monitoring.ask("query", { query: promql })) as Vector;
          for (const { metric, value } of answer.data.result) {
            const key = `${metric["app"]} ${metric["service"]} ${metric["release"]}`;
            found.set(key, { ...found.get(key), [what]: Number(value[1]) });
          }
        }),
      );
      return { rows: [...found].map(([key, values]) => topRow(key, values)).sort(byName) };
    },
  });
}

function topRow(key: string, values: Readonly<Record<string, number>>): TopRow {
  const [app = "", service = "", release = ""] = key.split(" ");
  const { requestsPerSecond = 0, errorsPerSecond = 0, cpu, memoryBytes } = values;
  const ms = (seconds: number | undefined): number => (seconds ? seconds * 1000 || 0 : 0);
  return {
    app,
    service,
    release: Number(release),
    ready: values["ready"] ?? 0,
    wanted: values["wanted"] ?? 0,
    requestsPerSecond,
    errorRatio: requestsPerSecond > 0 ? errorsPerSecond / requestsPerSecond : 0,
    p50Ms: ms(values["p50"]),
    p95Ms: ms(values["p95"]),
    ...(cpu !== undefined && { cpu }),
    ...(memoryBytes !== undefined && { memoryBytes }),
  };
}

const byName = (one: TopRow, other: TopRow): number =>
  one.app.localeCompare(other.app) ||
  one.service.localeCompare(other.service) ||
  other.release - one.release;

/** As Alertmanager keeps it. */
export interface SilenceView {
  readonly id: string;
  readonly createdBy: string;
  readonly comment: string;
  readonly endsAt: string;
  readonly status: { readonly state: string };
  readonly matchers: readonly { readonly name: string; readonly value: string }[];
}

function silenceRoutes(deps: OperationDeps): Route[] {
  return [
    route({
      method: "GET",
      path: "/v1/silences",
      summary: "List silences with owner and end.",
      handle: async () => ({
        silences: (await deps.monitoring.alertmanager("GET", "silences")) as readonly SilenceView[],
      }),
    }),
    route({
      method: "POST",
      path: "/v1/silences",
      summary: "Mute notifications for alerts with these labels.",
      body: z.object({
        labels: z
          .record(
            z
              .string()
              .regex(/^[a-zA-Z_][a-zA-Z0-9_]*$/, "must be the name of a label, such as app"),
            z
              .string()
              .regex(/^[^~]/, "must be one value, as alerts have it: patterns are not taken"),
          )
          .refine((labels) => Object.keys(labels).length > 0, {
            message: "must name at least one label, such as alertname",
          }),
        only: z
          .boolean()
          .default(false)
          .describe("Exactly this alert, not what else has the same cause."),
        durationMs: z.number().int().positive().max(SILENCE_MAX_MS),
        comment: z.string().max(1_000).default(""),
      }),
      handle: async ({ body, actor }) => {
        const now = deps.clock.now();
        const labels = body.only ? body.labels : await ofCause(deps, body.labels);
        const made = await deps.monitoring.alertmanager("POST", "silences", {
          matchers: Object.entries(labels).map(([name, value]) => ({
            name,
            value,
            isRegex: false,
            isEqual: true,
          })),
          startsAt: new Date(now).toISOString(),
          endsAt: new Date(now + body.durationMs).toISOString(),
          createdBy: actor.name,
          comment: body.comment || "silenced",
        });
        return { ...(made as { silenceID: string }), labels };
      },
    }),
    route({
      method: "DELETE",
      path: "/v1/silences/{silence}",
      summary: "End a silence.",
      params: z.object({ silence: z.uuid() }),
      handle: async ({ params }) => {
        await deps.monitoring.alertmanager("DELETE", `silence/${params.silence}`);
        return { ended: params.silence };
      },
    }),
  ];
}

/** An alert stands for all that have its cause: of one trouble nobody is told under another name. */
async function ofCause(
  deps: OperationDeps,
  { alertname, ...rest }: Readonly<Record<string, string>>,
): Promise<Readonly<Record<string, string>>> {
  if (alertname === undefined) return rest;
  const labels = await ruleLabels(deps, alertname);
  if (labels === undefined)
    throw invalid("silence.unknown_alert", `there is no alert ${alertname}`, {
      hint: "holdfast alerts, or: holdfast metrics 'ALERTS'; --only silences the name as it is",
    });
  const { cause, severity } = labels;
  if (cause === undefined) return { alertname, ...rest };
  // Who silences what waits until tomorrow is still woken.
  return { cause, ...(severity === "ticket" && { severity }), ...rest };
}

interface Vector {
  readonly data: {
    readonly result: readonly {
      readonly metric: Readonly<Record<string, string>>;
      readonly value: readonly [number, string];
    }[];
  };
}
