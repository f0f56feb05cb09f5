// What production said: logs, traces, and questions in SQL. Answered by the telemetry process.

import { z } from "zod";
import { invalid } from "../kernel/error.ts";
import {
  LOG_LEVELS,
  type LogLine,
  type ResultTable,
  type TelemetryPolicy,
  type TraceSpan,
  type TraceSummary,
  type UsageReport,
} from "../kernel/signal.ts";
import type { Access } from "../operations/access.ts";
import type { AppOperations } from "../operations/app-operations.ts";
import type { ChangeControl } from "../operations/change-control.ts";
import type { Declarations } from "../operations/declared/declarations.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import { name as appName } from "../resources/app/manifest.ts";
import { changedPolicy, policyChange, TELEMETRY } from "../resources/telemetry/telemetry.ts";
import { waitingOf } from "./environment-routes.ts";
import { type Lines, type Route, route } from "./route.ts";

const LOG_LIMIT_MAX = 100_000;
const LOG_CONTEXT_MAX = 200;
const LOG_CONTEXT_LINES_MAX = 40_000;
const ROW_LIMIT_MAX = 100_000;
const TRACE_LIMIT_MAX = 1_000;
const DAY_MS = 24 * 3_600_000;
const SQL_MAX_CHARS = 100_000;
const QUERY_TIMEOUT_MS = 30_000;

const sinceMs = z.coerce
  .number()
  .min(0)
  .describe("Only what is younger than this, in milliseconds; 0 is everything.");
const untilMs = z.coerce
  .number()
  .min(0)
  .default(0)
  .describe("Only what is older than this, in milliseconds; 0 is up to now.");
const release = z.coerce.number().int().min(0).optional();
const environment = appName.default("production");

export function telemetryRoutes(
  deps: OperationDeps,
  operations: AppOperations,
  { access, declarations }: Pick<ChangeControl, "access" | "declarations">,
): Route[] {
  const from = (sinceMs: number): number => (sinceMs > 0 ? deps.clock.now() - sinceMs : 0);
  return [
    logsRoute(deps, operations, access, from),
    ...policyRoutes(deps, operations, declarations),
    route({
      method: "GET",
      path: "/v1/traces",
      summary: "List traces, one for each request from outside, newest or slowest first.",
      query: z.object({
        environment,
        app: appName.optional(),
        service: z.string().max(100).optional(),
        release,
        sinceMs: sinceMs.default(3_600_000),
        untilMs,
        errors: z.stringbool().default(false),
        slow: z.stringbool().default(false),
        limit: z.coerce.number().int().min(1).max(TRACE_LIMIT_MAX).default(20),
      }),
      handle: async ({ query: { sinceMs, untilMs, ...rest } }) => {
        operations.requireEnvironment(rest.environment);
        if (rest.app !== undefined) operations.requireKnown(rest.environment, rest.app);
        const filter = { ...rest, from: from(sinceMs), to: deps.clock.now() - untilMs };
        return { traces: await deps.telemetry.ask<readonly TraceSummary[]>("/traces", filter) };
      },
    }),
    route({
      method: "GET",
      path: "/v1/traces/{trace}",
      summary: "Get all spans of a trace in order of their start.",
      params: z.object({ trace: z.string() }),
      handle: async ({ params: { trace } }) => {
        const traceId = trace.toLowerCase();
        if (!/^[0-9a-f]{32}$/.test(traceId))
          throw invalid("trace.bad_id", `${trace} is not the id of a trace: 32 hex digits`, {
            hint: "holdfast traces",
          });
        const spans = await deps.telemetry.ask<readonly TraceSpan[]>("/trace", { traceId });
        if (spans.length === 0)
          throw invalid("trace.not_found", `there is no trace ${traceId}`, {
            hint: "holdfast traces lists those of the last hour",
          });
        return { traceId, spans };
      },
    }),
    ...questionRoutes(deps, operations, from),
  ];
}

function questionRoutes(
  deps: OperationDeps,
  operations: AppOperations,
  from: (sinceMs: number) => number,
): Route[] {
  return [
    route({
      method: "GET",
      path: "/v1/usage",
      summary: "Get page views, visitors, web vitals, browser errors and feedback.",
      query: z.object({
        environment,
        app: appName,
        release,
        sinceMs: sinceMs.default(DAY_MS),
        limit: z.coerce.number().int().min(1).max(ROW_LIMIT_MAX).default(20),
      }),
      handle: ({ query: { sinceMs, ...rest } }) => {
        operations.requireKnown(rest.environment, rest.app);
        const question = { ...rest, from: from(sinceMs), to: deps.clock.now() };
        return deps.telemetry.ask<UsageReport>("/usage", question);
      },
    }),
    route({
      method: "POST",
      path: "/v1/query",
      summary: "Run read-only SQL over the tables logs, requests, spans and usage.",
      body: z.object({
        sql: z.string().min(1).max(SQL_MAX_CHARS),
        environment: appName.optional(),
        sinceMs: sinceMs.default(DAY_MS),
        untilMs,
        limit: z.number().int().min(1).max(ROW_LIMIT_MAX).default(1_000),
      }),
      handle: ({ body: { sinceMs, untilMs, ...rest } }) =>
        deps.telemetry.ask<ResultTable>("/query", {
          ...rest,
          from: from(sinceMs),
          to: deps.clock.now() - untilMs,
          timeoutMs: QUERY_TIMEOUT_MS,
        }),
    }),
  ];
}

function policyRoutes(
  deps: OperationDeps,
  operations: AppOperations,
  declarations: Declarations,
): Route[] {
  const path = "/v1/environments/{environment}/telemetry";
  const params = z.object({ environment: appName });
  const find = (name: string): TelemetryPolicy | undefined =>
    deps.store.find(TELEMETRY, name)?.spec;
  return [
    route({
      method: "GET",
      path,
      summary: "Get retention and privacy settings.",
      params,
      handle: ({ params: { environment } }) => {
        operations.requireEnvironment(environment);
        return changedPolicy(find(environment), policyChange.parse({}));
      },
    }),
    route({
      method: "PATCH",
      path,
      summary: "Change retention and privacy settings.",
      params,
      body: policyChange,
      handle: async ({ params: { environment }, body, actor }) => {
        operations.requireEnvironment(environment);
        const wanted = { kind: TELEMETRY.name, name: environment, spec: body };
        const { outcome, spec } = await declarations.write(wanted, actor);
        return { ...(spec as TelemetryPolicy), ...waitingOf(outcome) };
      },
    }),
  ];
}

function logsRoute(
  deps: OperationDeps,
  operations: AppOperations,
  access: Access,
  from: (sinceMs: number) => number,
): Route {
  return route({
    method: "GET",
    path: "/v1/logs",
    summary: "Get or follow log lines as NDJSON, oldest first.",
    query: z.object({
      environment,
      app: appName.optional(),
      service: z.string().max(100).optional(),
      instance: z.string().max(200).optional(),
      engine: z.string().max(100).optional(),
      release,
      level: z.enum(LOG_LEVELS).optional().describe("This one and more severe ones."),
      text: z.string().max(1_000).optional().describe("Somewhere in the line, any case."),
      fields: z
        .string()
        .max(10_000)
        .transform((text) => fieldsOf(text))
        .optional()
        .describe('Of lines of JSON: {"path":"/cart"}.'),
      trace: z
        .string()
        .regex(/^[0-9a-f]{32}$/, "must be 32 hex digits")
        .optional(),
      sinceMs: sinceMs.default(0),
      untilMs,
      after: z.coerce
        .number()
        .min(0)
        .optional()
        .describe("The first lines after this moment (ms since the epoch), not the last ones."),
      context: z.coerce
        .number()
        .int()
        .min(0)
        .max(LOG_CONTEXT_MAX)
        .optional()
        .describe("With so many lines of the same instance before and after each."),
      limit: z.coerce.number().int().min(1).max(LOG_LIMIT_MAX).default(200),
      follow: z.stringbool().default(false),
    }),
    answers: "stream",
    handle: ({ query, actor, signal }) => {
      const { app, engine, service, sinceMs, untilMs, trace, ...rest } = query;
      if (query.follow && untilMs > 0)
        throw invalid("logs.follow_ends", "what is followed has no end: leave out untilMs", {
          hint: "holdfast logs -f, or --until",
        });
      assertBounded(query.limit, query.context);
      operations.requireEnvironment(query.environment);
      if (app) operations.requireKnown(query.environment, app);
      const whose = engine === undefined ? { app, service } : { app: "", service: engine };
      const withPlatform = access.decide(actor, "view").allowed;
      return deps.telemetry.logs(
        {
          ...rest,
          ...whose,
          withPlatform,
          traceId: trace,
          from: from(sinceMs),
          ...(untilMs > 0 && { to: deps.clock.now() - untilMs }),
        },
        signal,
      ) as Promise<Lines<LogLine>>;
    },
  });
}

function assertBounded(limit: number, context = 0): void {
  if (limit * context <= LOG_CONTEXT_LINES_MAX) return;
  throw invalid(
    "logs.too_much_context",
    `limit times context must be at most ${LOG_CONTEXT_LINES_MAX}`,
    { hint: "holdfast logs -n 50 --context 20" },
  );
}

function fieldsOf(text: string): Record<string, string> {
  const parsed = z.record(z.string(), z.string()).safeParse(safeJson(text));
  if (parsed.success) return parsed.data;
  throw invalid("logs.bad_fields", `fields must be a JSON object of texts, not ${text}`, {
    hint: '{"path":"/cart"}',
  });
}

function safeJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
