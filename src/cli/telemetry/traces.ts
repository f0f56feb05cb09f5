// Traces: a list, and one drawn as a waterfall.

import type { DeployView } from "../../api/monitoring-routes.ts";
import type { TraceSpan, TraceSummary } from "../../kernel/signal.ts";
import { wholeNumber } from "../app/change.ts";
import type { Command } from "../command.ts";
import { durationText, type Output } from "../output.ts";
import { deploysSince, deployText, momentOf } from "./deploys.ts";
import { lineText, logsOfTrace } from "./logs.ts";
import { sinceMsOf } from "./since.ts";

export const traces: Command = {
  usage: "traces [target]",
  summary: "List traces, one for each request from outside.",
  examples: ["holdfast traces storefront --errors", "holdfast traces --slow --since 1h"],
  options: [
    { flags: "--slow", description: "slowest first; default: newest first" },
    { flags: "--errors", description: "only failed requests" },
    { flags: "--release <number>", description: "only of this release" },
    {
      flags: "--since <time>",
      description: "only the last 30s, 5m, 2h, 1d, or since 14:30, 2026-11-26T14:30Z",
      default: "1h",
    },
    { flags: "--until <time>", description: "only what is older than 5m, or before 14:30Z" },
    { flags: "-n, --lines <count>", description: "at most this many", default: "20" },
  ],
  run: async (context, [target], options) => {
    const { client, output, environment } = context;
    const [app, service] = String(target ?? "").split("/");
    const release = options["release"];
    const facts = await client.get("/v1/traces", {
      environment,
      app: app || undefined,
      service: service || undefined,
      release: release === undefined ? undefined : wholeNumber(String(release), "--release"),
      slow: options["slow"] === true,
      errors: options["errors"] === true,
      sinceMs: sinceMsOf(options["since"]),
      untilMs: sinceMsOf(options["until"], "--until"),
      limit: wholeNumber(String(options["lines"] ?? "20"), "-n", 1),
    });
    const oldest = Math.min(...facts.traces.map(({ time }) => time));
    const deploys =
      options["slow"] === true || facts.traces.length === 0
        ? []
        : await deploysSince(context, Date.now() - oldest, app || undefined);
    output.result({ ...facts, deploys }, () =>
      facts.traces.length === 0 ? "no trace matches" : traceTable(facts.traces, deploys, output),
    );
    return 0;
  },
};

/** Newest first, with deploys between them; or as they come, without. */
function traceTable(
  found: readonly TraceSummary[],
  deploys: readonly DeployView[],
  output: Output,
): string {
  const rows = found.map((one) => ({
    at: one.time,
    cells: [
      new Date(one.time).toISOString(),
      one.traceId,
      `${one.app}/${one.service} r${one.release}`,
      one.failed ? output.paint("red", String(one.status)) : String(one.status),
      durationText(one.durationMs),
      one.name,
    ],
  }));
  const marks = deploys.map((one) => ({
    at: momentOf(one),
    cells: [new Date(momentOf(one)).toISOString(), `▲ ${deployText(one, output)}`],
  }));
  const all = marks.length === 0 ? rows : [...rows, ...marks].sort((a, b) => b.at - a.at);
  return output.table(
    all.map(({ cells }) => cells),
    ["when", "trace", "service", "status", "took", "request"],
  );
}

const LOG_LINES = 50;

export const trace: Command = {
  usage: "trace <id>",
  summary: "Show a trace: spans across edge, services and stores, and its log lines.",
  examples: ["holdfast trace 000653e2f1a2b3c400000000a1b2c3d4"],
  run: async (context, [id]) => {
    const { client, output } = context;
    const found = await client.get(`/v1/traces/${encodeURIComponent(String(id))}`);
    const lines = await logsOfTrace(context, found.traceId, LOG_LINES);
    output.result({ ...found, logs: lines }, () =>
      [
        waterfall(found.spans, output),
        ...(lines.length > 0 ? ["", ...lines.map((line) => lineText(line, output))] : []),
      ].join("\n"),
    );
    return 0;
  },
};

const BAR_CHARS = 40;
/** Steps below each other that are moved in; deeper ones show how deep they are. */
const DEPTH_SHOWN = 30;

export function waterfall(spans: readonly TraceSpan[], output: Output): string {
  const first = spans.reduce((least, { time }) => Math.min(least, time), Infinity);
  const last = spans.reduce((most, { time, durationMs }) => Math.max(most, time + durationMs), 0);
  const total = Math.max(last - first, 0.001);
  const rows = inOrder(spans).flatMap(({ span, depth }) => {
    const begin = Math.min(BAR_CHARS - 1, Math.floor(((span.time - first) / total) * BAR_CHARS));
    const length = Math.max(1, Math.round((span.durationMs / total) * BAR_CHARS));
    const bar = "█".repeat(Math.min(length, BAR_CHARS - begin));
    const isError = span.status === "error";
    const row = [
      `${"  ".repeat(Math.min(depth, DEPTH_SHOWN))}${depth > DEPTH_SHOWN ? `${depth}: ` : ""}${span.scope === "edge" ? "edge" : span.service}`,
      `${" ".repeat(begin)}${isError ? output.paint("red", bar) : output.paint("cyan", bar)}${" ".repeat(Math.max(0, BAR_CHARS - begin - length))}`,
      durationText(span.durationMs),
      `${span.name}${statusText(span)}${isError ? output.paint("red", " error") : ""}`,
    ];
    const details = detailsOf(span).map((text) => ["", "", "", output.paint("dim", `  ${text}`)]);
    return [row, ...details];
  });
  return output.table(rows);
}

function statusText({ attributes }: TraceSpan): string {
  const status = attributes["http.response.status_code"];
  return status === undefined ? "" : ` → ${String(status)}`;
}

const DETAIL_CHARS = 200;
/** Frames of a stack that are shown: where it was thrown, and who called. */
const FRAMES = 3;

/** What a span says of itself: why it failed, what was thrown, what the store was asked. */
function detailsOf({ attributes, events }: TraceSpan): readonly string[] {
  const of = (key: string): string[] => {
    const value = attributes[key];
    return typeof value === "string" && value !== "" ? [value] : [];
  };
  const [statement] = [...of("db.query.text"), ...of("db.statement")];
  const lines = [
    ...of("status.message"),
    ...(statement === undefined ? [] : [statement]),
    ...events.flatMap((event) => exceptionText(event as Readonly<Record<string, unknown>>)),
    ...of("holdfast.clock").map((text) => `its clock is off: ${text}`),
  ];
  return [...new Set(lines)].map((line) => cut(line.replaceAll(/\s+/g, " ").trim()));
}

function exceptionText(event: Readonly<Record<string, unknown>>): string[] {
  if (event["name"] !== "exception") return [];
  const text = (key: string): string => String(event[`exception.${key}`] ?? "");
  const said = [text("type"), text("message")].filter(Boolean).join(": ");
  // A stack begins with what was thrown: that is said already.
  const frames = text("stacktrace")
    .split("\n")
    .filter((line) => /^\s+(at |File )/.test(line))
    .slice(0, FRAMES);
  return [said, ...frames].filter(Boolean);
}

const cut = (text: string): string =>
  text.length > DETAIL_CHARS ? `${text.slice(0, DETAIL_CHARS)}…` : text;

/**
 * Children below their parent, by their beginning; what has lost its parent is at the top, and so is
 * one of those that are parents of each other.
 */
function inOrder(spans: readonly TraceSpan[]): { span: TraceSpan; depth: number }[] {
  const known = new Set(spans.map(({ spanId }) => spanId));
  const children = Map.groupBy(spans, ({ parentSpanId, spanId }) =>
    known.has(parentSpanId) && parentSpanId !== spanId ? parentSpanId : "",
  );
  const placed = new Set<string>();
  const rows: { span: TraceSpan; depth: number }[] = [];
  const place = (roots: readonly TraceSpan[]): void => {
    const ahead = roots.map((span) => ({ span, depth: 0 })).reverse();
    for (let next = ahead.pop(); next; next = ahead.pop()) {
      const { span, depth } = next;
      if (placed.has(span.spanId)) continue;
      placed.add(span.spanId);
      rows.push(next);
      for (const child of (children.get(span.spanId) ?? []).toReversed())
        ahead.push({ span: child, depth: depth + 1 });
    }
  };
  place(children.get("") ?? []);
  for (const span of spans) place([span]);
  return rows;
}
