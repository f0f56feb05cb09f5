// What is not as usual, and what runs out when: answers over days, from what was measured.

import { z } from "zod";
import type { AnomalyReport } from "../kernel/signal.ts";
import type { AppOperations } from "../operations/app-operations.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import { APP } from "../resources/app/app.ts";
import { name as appName } from "../resources/app/manifest.ts";
import { type Route, route } from "./route.ts";
import { LEAST_POINTS, msUntil, type Point, trendOf } from "./trend.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const ANOMALIES_MAX_MS = 60 * DAY_MS;
const environment = appName.default("production");

/** Something there is a limited amount of. */
export interface Forecast {
  readonly what: "disk" | "memory" | "connections" | "requests";
  /** Whose: `machine`, `edge`, `database production`, `storefront/web`. */
  readonly of: string;
  readonly unit: "bytes" | "connections" | "requests per second";
  /** Peak of the last hour, or of less where less is known. */
  readonly used: number;
  readonly limit: number;
  /** Units per day; undefined where too little is known. */
  readonly perDay?: number;
  /** `steady`: no trend that could not be chance. */
  readonly trend: "growing" | "shrinking" | "steady" | "unknown";
  /** ms since the epoch: at the present trend, and between these two with 90 % confidence. */
  readonly runsOutAt?: number;
  readonly earliestAt?: number;
  readonly latestAt?: number;
  /** How long a past is known, and must be for a trend. */
  readonly knownMs: number;
  readonly neededMs: number;
}

export function insightRoutes(deps: OperationDeps, operations: AppOperations): Route[] {
  return [
    route({
      method: "GET",
      path: "/v1/anomalies",
      summary:
        "List anomalies: hours with unusual requests, errors or latency for that hour of the week.",
      query: z.object({
        environment,
        app: appName.optional(),
        sinceMs: z.coerce.number().min(0).max(ANOMALIES_MAX_MS).default(DAY_MS),
      }),
      handle: async ({ query: { sinceMs, ...rest } }) => {
        operations.requireEnvironment(rest.environment);
        if (rest.app !== undefined) operations.getApp(rest.environment, rest.app);
        const to = deps.clock.now();
        const question = { ...rest, from: to - sinceMs, to };
        return withoutDestroyed(
          deps,
          await deps.telemetry.ask<AnomalyReport>("/anomalies", question),
          rest.environment,
        );
      },
    }),
    route({
      method: "GET",
      path: "/v1/forecast",
      summary: "Forecast when disk, memory, connections and request capacity run out.",
      query: z.object({ environment }),
      handle: async ({ query }) => {
        operations.requireEnvironment(query.environment);
        const all = await Promise.all(
          questionsOf(query.environment).map((question) => forecastsOf(deps, question)),
        );
        return { forecasts: all.flat() };
      },
    }),
  ];
}

/** An app that is not there any more is missed by nobody. */
function withoutDestroyed(
  deps: OperationDeps,
  { departures, known }: AnomalyReport,
  name: string,
): AnomalyReport {
  const apps = new Set(deps.store.list(APP, `${name}/`).map((app) => app.name.split("/")[1]));
  return {
    departures: departures.filter(({ app }) => apps.has(app)),
    known: known.filter(({ app }) => apps.has(app)),
  };
}

interface Question extends Pick<Forecast, "what" | "unit"> {
  readonly of: (labels: Readonly<Record<string, string>>) => string;
  /** In PromQL, with the same labels each. */
  readonly used: string;
  readonly limit: string;
  /** What comes and goes by itself: growth can only be told from it over whole ones. */
  readonly rhythm: Rhythm;
}

type Rhythm = "none" | "days" | "weeks";

function questionsOf(name: string): readonly Question[] {
  const own = `environment="${name}"`;
  const by = "by (environment, app, service)";
  const serviceOf = ({ app = "", service = "" }: Readonly<Record<string, string>>): string =>
    `${app}/${service}`;
  // What its instances take of the cores they may have, those of releases that only stay warm left out.
  const cores = `sum ${by} (holdfast_instance_cpu_limit_cores{${own}} * on(environment, app, service, release, instance) holdfast_instance_wanted)`;
  const machineCores = 'scalar(count(count by (cpu) (node_cpu_seconds_total{mode="idle"})))';
  const busy = `(sum ${by} (rate(holdfast_instance_cpu_seconds_total{${own}}[15m])) / clamp_max(${cores}, ${machineCores}))`;
  const requests = (window: string): string =>
    `sum ${by} (rate(holdfast_requests_total{${own},app!=""}[${window}]))`;
  return [
    {
      what: "disk",
      unit: "bytes",
      of: () => "machine",
      rhythm: "none",
      used: 'max(node_filesystem_size_bytes{holds="holdfast"} - node_filesystem_avail_bytes{holds="holdfast"})',
      limit: 'max(node_filesystem_size_bytes{holds="holdfast"})',
    },
    {
      what: "memory",
      unit: "bytes",
      of: () => "machine",
      rhythm: "days",
      used: "max(node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes)",
      limit: "max(node_memory_MemTotal_bytes)",
    },
    {
      what: "memory",
      unit: "bytes",
      of: (labels) => `${serviceOf(labels)} instance`,
      rhythm: "days",
      used: `max ${by} (holdfast_instance_memory_bytes{${own}})`,
      limit: `max ${by} (holdfast_instance_memory_limit_bytes{${own}})`,
    },
    {
      what: "connections",
      unit: "connections",
      of: () => "edge",
      rhythm: "weeks",
      used: "max(haproxy_process_current_connections)",
      limit: "max(haproxy_process_max_connections)",
    },
    {
      what: "connections",
      unit: "connections",
      of: () => `database ${name}`,
      rhythm: "weeks",
      used: `sum(pg_stat_activity_count{${own}})`,
      limit: `max(pg_settings_max_connections{${own}})`,
    },
    {
      what: "connections",
      unit: "connections",
      of: () => `cache ${name}`,
      rhythm: "weeks",
      used: `max(redis_connected_clients{${own}})`,
      limit: `max(redis_config_maxclients{${own}})`,
    },
    {
      what: "requests",
      unit: "requests per second",
      of: serviceOf,
      rhythm: "weeks",
      used: requests("5m"),
      // At the CPU that a request takes now; where there are none, nobody can know.
      limit: `(${requests("15m")} > 0.1) / (${busy} > 0)`,
    },
  ];
}

interface Series {
  readonly data: {
    readonly result: readonly {
      readonly metric: Readonly<Record<string, string>>;
      readonly value?: readonly [number, string];
      readonly values?: readonly (readonly [number, string])[];
    }[];
  };
}

interface Look {
  readonly spanMs: number;
  readonly stepMs: number;
  readonly peak: string;
}

/** Peaks by the hour; where less is known, finer and shorter. */
const LOOKS: readonly Look[] = [
  { spanMs: 28 * DAY_MS, stepMs: HOUR_MS, peak: "[1h:5m]" },
  { spanMs: 12 * HOUR_MS, stepMs: 5 * 60_000, peak: "[5m:30s]" },
  { spanMs: HOUR_MS, stepMs: 60_000, peak: "[1m:15s]" },
];

async function forecastsOf(deps: OperationDeps, question: Question): Promise<Forecast[]> {
  const limits = (await deps.monitoring.ask("query", { query: question.limit })) as Series;
  if (limits.data.result.length === 0) return [];
  const pasts = new Map<string, readonly Point[]>();
  for (const look of LOOKS) {
    for (const [key, points] of await pastOf(deps, question, look)) {
      const known = pasts.get(key)?.length ?? 0;
      if (known < LEAST_POINTS && points.length > known) pasts.set(key, points);
    }
    const isKnown = limits.data.result.every(
      ({ metric }) => (pasts.get(JSON.stringify(metric))?.length ?? 0) >= LEAST_POINTS,
    );
    if (isKnown) break;
  }
  return limits.data.result.flatMap(({ metric, value }) => {
    const limit = Number(value?.[1]);
    const points = pasts.get(JSON.stringify(metric)) ?? [];
    const { what, unit, rhythm } = question;
    if (!(limit > 0) || points.length === 0) return [];
    return [{ what, unit, of: question.of(metric), ...forecastOf(points, limit, rhythm) }];
  });
}

async function pastOf(
  deps: OperationDeps,
  { used }: Question,
  { spanMs, stepMs, peak }: Look,
): Promise<Map<string, readonly Point[]>> {
  const now = deps.clock.now();
  const answer = (await deps.monitoring.ask("query_range", {
    query: `max_over_time((${used})${peak})`,
    start: String((now - spanMs) / 1000),
    end: String(now / 1000),
    step: String(stepMs / 1000),
  })) as Series;
  return new Map(
    answer.data.result.map(({ metric, values = [] }) => [
      JSON.stringify(metric),
      values.map(([seconds, text]) => ({ at: seconds * 1000, value: Number(text) })),
    ]),
  );
}

/** Peaks of days that are known whole, at the day's beginning. */
function peaksOfDays(points: readonly Point[]): Point[] {
  const days = Map.groupBy(points, ({ at }) => Math.floor(at / DAY_MS) * DAY_MS);
  return [...days]
    .filter(([, own]) => own.length >= HOURS_OF_DAY)
    .map(([at, own]) => ({ at, value: Math.max(...own.map(({ value }) => value)) }));
}

const HOURS_OF_DAY = 23;
const LEAST_DAYS = 5;
const WEEK_MS = 7 * DAY_MS;
/** What has to be known before growth can be told from a rhythm. */
const NEEDED_MS: Readonly<Record<Rhythm, number>> = {
  none: 0,
  days: (LEAST_DAYS + 1) * DAY_MS,
  weeks: 2 * WEEK_MS + 2 * DAY_MS,
};

function trendBy(rhythm: Rhythm, points: readonly Point[], knownMs: number) {
  if (rhythm === "none") return trendOf(points);
  if (knownMs < NEEDED_MS[rhythm]) return undefined;
  const seasonMs = knownMs >= NEEDED_MS.weeks ? WEEK_MS : undefined;
  const options = { least: LEAST_DAYS, ...(seasonMs !== undefined && { seasonMs }) };
  return trendOf(peaksOfDays(points), options);
}

/** Pure: from what was used to when the limit is met. */
export function forecastOf(
  points: readonly Point[],
  limit: number,
  rhythm: Rhythm,
): Omit<Forecast, "what" | "unit" | "of"> {
  const [first, last] = [points[0], points.at(-1)];
  const knownMs = (last?.at ?? 0) - (first?.at ?? 0);
  const known = { used: last?.value ?? 0, limit, knownMs, neededMs: NEEDED_MS[rhythm] };
  const trend = trendBy(rhythm, points, knownMs);
  if (!trend || !last) return { ...known, trend: "unknown" };
  const { slope, low, high } = trend;
  const perDay = slope * DAY_MS;
  // What would not change by a hundredth of the limit in a year is steady, however sure that is.
  const isNothing = Math.abs(perDay) * 365 < limit / 100;
  if (isNothing || (low <= 0 && high >= 0)) return { ...known, trend: "steady", perDay };
  if (slope < 0) return { ...known, trend: "shrinking", perDay };
  const at = (by: number): number | undefined => {
    const ms = msUntil(limit, trend, by);
    return ms === undefined ? undefined : last.at + ms;
  };
  const [runsOutAt, earliestAt, latestAt] = [at(slope), at(high), at(low)];
  return {
    ...known,
    trend: "growing",
    perDay,
    ...(runsOutAt !== undefined && { runsOutAt }),
    ...(earliestAt !== undefined && { earliestAt }),
    ...(latestAt !== undefined && { latestAt }),
  };
}
