// Metrics, objectives and alerts: what Prometheus and Alertmanager say, as the platform's facts.

import { z } from "zod";
import { all, bad, badRatio } from "../resources/app/alert-rules.ts";
import { APP, type AppSpec, type AppStatus, appResourceName } from "../resources/app/app.ts";
import { name as appName } from "../resources/app/manifest.ts";
import { OBJECTIVE_DAYS, type Objective } from "../resources/app/objectives.ts";
import type { ApiDeps } from "./api-deps.ts";
import { type Route, route } from "./route.ts";

const PROMETHEUS = [
  "query",
  "query_range",
  "series",
  "labels",
  "metadata",
  "rules",
  "alerts",
] as const;
const HISTORY_STEP_S = 15;
const HISTORY_MAX_MS = 7 * 24 * 3_600_000;
const SILENCE_MAX_MS = 30 * 24 * 3_600_000;
const environment = appName.default("production");

export interface AlertView {
  readonly alert: string;
  readonly state: "pending" | "firing" | "resolved";
  readonly severity: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly summary: string;
  readonly query: string;
  readonly runbook: string;
  /** ms since the epoch */
  readonly since: number;
  readonly until?: number;
  /** Release in force, and how long after its deploy the alert began. */
  readonly release?: number;
  readonly afterDeployMs?: number;
}

export interface ObjectiveView extends Objective {
  readonly days: number;
  readonly requests: number;
  readonly bad: number;
  /** Share of good requests so far; undefined where there were none. */
  readonly attained?: number;
  /** Share of the error budget that is left; below 0: overspent. */
  readonly budgetLeft: number;
  /** How many times faster than even the budget was spent in the last hour. */
  readonly burnRate: number;
  /** Bad requests by release, most first. */
  readonly consumedBy: readonly { readonly release: number; readonly bad: number }[];
}

export function monitoringRoutes(deps: ApiDeps): Route[] {
  return [
    ...PROMETHEUS.map((path) =>
      route({
        method: "GET",
        path: `/v1/prometheus/api/v1/${path}`,
        summary: `Prometheus' own API: ${path}.`,
        query: z.record(z.string(), z.union([z.string(), z.array(z.string())])),
        handle: ({ query }) => deps.monitoring.ask(path, query),
      }),
    ),
    route({
      method: "GET",
      path: "/v1/prometheus/api/v1/label/{label}/values",
      summary: "Prometheus' own API: values of a label.",
      params: z.object({ label: z.string().regex(/^[a-zA-Z_][a-zA-Z0-9_]*$/) }),
      query: z.record(z.string(), z.union([z.string(), z.array(z.string())])),
      handle: ({ params, query }) => deps.monitoring.ask(`label/${params.label}/values`, query),
    }),
    route({
      method: "GET",
      path: "/v1/objectives",
      summary: "Objectives of an environment: attained, budget left, burn rate, what consumed it.",
      query: z.object({ environment, app: appName.optional() }),
      handle: async ({ query }) => ({
        objectives: await Promise.all(
          deps
            .objectives()
            .filter((one) => one.environment === query.environment)
            .filter((one) => query.app === undefined || one.app === query.app)
            .map((objective) => objectiveView(deps, objective)),
        ),
      }),
    }),
    route({
      method: "GET",
      path: "/v1/alerts",
      summary: "Alerts that fire, and those that did: why, since when, with the release in force.",
      query: z.object({
        environment,
        sinceMs: z.coerce
          .number()
          .min(0)
          .max(HISTORY_MAX_MS)
          .default(24 * 3_600_000),
      }),
      handle: ({ query }) => alertViews(deps, query.environment, query.sinceMs),
    }),
    topRoute(deps),
    ...silenceRoutes(deps),
  ];
}

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

function topRoute(deps: ApiDeps): Route {
  return route({
    method: "GET",
    path: "/v1/top",
    summary: "Requests, errors, latency, CPU and memory by service and release, as they are now.",
    query: z.object({ environment }),
    handle: async ({ query }) => {
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

function silenceRoutes(deps: ApiDeps): Route[] {
  return [
    route({
      method: "GET",
      path: "/v1/silences",
      summary: "Silences, with owner and end.",
      handle: async () => ({ silences: await deps.monitoring.alertmanager("GET", "silences") }),
    }),
    route({
      method: "POST",
      path: "/v1/silences",
      summary: "Silences alerts with these labels for a time.",
      body: z.object({
        labels: z
          .record(z.string(), z.string())
          .refine((labels) => Object.keys(labels).length > 0, {
            message: "must name at least one label, such as alertname",
          }),
        durationMs: z.number().int().positive().max(SILENCE_MAX_MS),
        comment: z.string().max(1_000).default(""),
      }),
      handle: ({ body, actor }) => {
        const now = deps.clock.now();
        return deps.monitoring.alertmanager("POST", "silences", {
          matchers: Object.entries(body.labels).map(([name, value]) => ({
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
      },
    }),
    route({
      method: "DELETE",
      path: "/v1/silences/{silence}",
      summary: "Ends a silence.",
      params: z.object({ silence: z.uuid() }),
      handle: ({ params }) => deps.monitoring.alertmanager("DELETE", `silence/${params.silence}`),
    }),
  ];
}

interface Vector {
  readonly data: {
    readonly result: readonly {
      readonly metric: Readonly<Record<string, string>>;
      readonly value: readonly [number, string];
    }[];
  };
}

async function objectiveView(deps: ApiDeps, objective: Objective): Promise<ObjectiveView> {
  const window = `${OBJECTIVE_DAYS}d`;
  const ask = async (query: string): Promise<Vector["data"]["result"]> =>
    ((await deps.monitoring.ask("query", { query })) as Vector).data.result;
  const one = async (query: string): Promise<number> =>
    Number((await ask(query))[0]?.value[1] ?? 0);
  const [requests, badCount, ratioOfHour, releases] = await Promise.all([
    one(all(objective, window)),
    one(bad(objective, window)),
    one(badRatio(objective, "1h")),
    ask(`topk(5, ${bad(objective, window, "release")} > 0)`),
  ]);
  const budget = 1 - objective.target;
  const ratio = requests > 0 ? badCount / requests : 0;
  return {
    ...objective,
    days: OBJECTIVE_DAYS,
    requests: Math.round(requests),
    bad: Math.round(badCount),
    ...(requests > 0 && { attained: 1 - ratio }),
    budgetLeft: 1 - ratio / budget,
    burnRate: Number.isNaN(ratioOfHour) ? 0 : ratioOfHour / budget,
    consumedBy: releases
      .map(({ metric, value }) => ({
        release: Number(metric["release"] ?? 0),
        bad: Math.round(Number(value[1])),
      }))
      .sort((a, b) => b.bad - a.bad),
  };
}

interface ActiveAlerts {
  readonly data: {
    readonly alerts: readonly {
      readonly labels: Readonly<Record<string, string>>;
      readonly annotations: Readonly<Record<string, string>>;
      readonly state: "pending" | "firing";
      readonly activeAt: string;
    }[];
  };
}
interface Matrix {
  readonly data: {
    readonly result: readonly {
      readonly metric: Readonly<Record<string, string>>;
      readonly values: readonly (readonly [number, string])[];
    }[];
  };
}

async function alertViews(
  deps: ApiDeps,
  environment: string,
  sinceMs: number,
): Promise<{ alerts: readonly AlertView[] }> {
  const now = deps.clock.now();
  const isHere = (labels: Readonly<Record<string, string>>): boolean =>
    labels["environment"] === undefined || labels["environment"] === environment;
  const active = (await deps.monitoring.ask("alerts", {})) as ActiveAlerts;
  const firing = active.data.alerts
    .filter(({ labels }) => isHere(labels))
    .map(({ labels, annotations, state, activeAt }): AlertView => {
      const since = Date.parse(activeAt);
      return { ...viewOf(deps, labels, since), ...textsOf(annotations), state };
    });
  const past = (await deps.monitoring.ask("query_range", {
    query: 'ALERTS{alertstate="firing"}',
    start: String((now - sinceMs) / 1000),
    end: String(now / 1000),
    step: String(Math.max(HISTORY_STEP_S, sinceMs / 1000 / 10_000)),
  })) as Matrix;
  const resolved = past.data.result
    .filter(({ metric }) => isHere(metric))
    .flatMap(({ metric, values }) => {
      const { alertstate: _, __name__: __, ...labels } = metric;
      const since = (values[0]?.[0] ?? 0) * 1000;
      const until = (values.at(-1)?.[0] ?? 0) * 1000;
      const isStill = firing.some((one) => JSON.stringify(one.labels) === JSON.stringify(labels));
      return isStill || now - until < 2 * HISTORY_STEP_S * 1000
        ? []
        : [{ ...viewOf(deps, labels, since), state: "resolved" as const, until }];
    });
  return { alerts: [...firing, ...resolved.sort((a, b) => b.since - a.since)] };
}

const textsOf = (annotations: Readonly<Record<string, string>>) => ({
  summary: annotations["summary"] ?? "",
  query: annotations["query"] ?? "",
  runbook: annotations["runbook"] ?? "",
});

function viewOf(deps: ApiDeps, given: Readonly<Record<string, string>>, since: number) {
  const labels = Object.fromEntries(Object.entries(given).sort(([a], [b]) => (a < b ? -1 : 1)));
  const { alertname = "", severity = "" } = labels;
  return {
    alert: alertname,
    severity,
    labels,
    summary: "",
    query: "",
    runbook: "",
    since,
    ...releaseInForce(deps, labels, since),
  };
}

/** The release that an alert is about, and how long after its deploy it began. */
export function releaseInForce(
  deps: ApiDeps,
  { environment, app, release: named }: Readonly<Record<string, string>>,
  since: number,
): { readonly release?: number; readonly afterDeployMs?: number } {
  if (!environment || !app) return {};
  const name = appResourceName(environment, app);
  const status = deps.store.find<AppSpec, AppStatus>({ kind: APP, name })?.status;
  const release = Number(named) || status?.serving?.set.release;
  if (release === undefined) return {};
  const rollout = status?.history.find(
    (one) => one.placement.set.release === release && one.outcome === "succeeded",
  );
  const began = rollout?.endedAt;
  return {
    release,
    ...(began !== undefined && since >= began && { afterDeployMs: since - began }),
  };
}
