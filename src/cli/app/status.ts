import type { Answers } from "../../client/answers.ts";
import type { Command } from "../command.ts";
import { durationText, type Output } from "../output.ts";

type Status = Answers["GET /v1/status"];
type AppView = Status["apps"][number];

export const status: Command = {
  usage: "status",
  summary: "Show apps, instances, traffic, stores and open actions on one screen.",
  examples: ["holdfast status", "holdfast status --json"],
  run: async ({ client, output, environment }) => {
    const facts = await client.get("/v1/status", { environment });
    output.result(facts, () => render(facts, output));
    return facts.blocked.length > 0 ? 3 : 0;
  },
};

function render(facts: Status, output: Output): string {
  const parts = [
    ...facts.apps.map((app) => renderApp(app, facts.trafficWindowMs, output)),
    facts.apps.length === 0 ? `${facts.environment} has no apps yet: holdfast deploy <folder>` : "",
    renderEngines(facts, output),
    facts.telemetry === "away"
      ? output.paint("yellow", "telemetry is away: no figures of traffic (holdfast up)")
      : "",
    facts.alerts === undefined
      ? output.paint("yellow", "nobody can say which alerts fire: Prometheus does not answer")
      : renderAlerts(facts.alerts, output),
    ...facts.blocked.map(
      ({ what, reason, hint }) =>
        `${output.paint("red", "blocked")} ${what}: ${reason}\n  ${output.paint("cyan", "→")} ${hint}`,
    ),
  ];
  return parts.filter(Boolean).join("\n\n");
}

const ALERTS_SHOWN = 5;

function renderAlerts(alerts: NonNullable<Status["alerts"]>, output: Output): string {
  if (alerts.length === 0) return "";
  const shown = alerts
    .slice(0, ALERTS_SHOWN)
    .map(({ alert, severity, summary, since, silencedBy }) =>
      [
        output.paint(severity === "page" ? "red" : "yellow", `fires ${alert}`),
        `${durationText(Date.now() - since)}: ${summary}${silencedBy === undefined ? "" : output.paint("dim", " (silenced)")}`,
      ].join(" "),
    );
  const more = alerts.length - shown.length;
  return [
    ...shown,
    `  ${output.paint("cyan", "→")} holdfast alerts${more > 0 ? ` shows ${more} more` : ""}`,
  ].join("\n");
}

function renderApp(app: AppView, windowMs: number, output: Output): string {
  const serving =
    app.release === undefined
      ? "serves nothing"
      : `release ${app.release} for ${durationText(Date.now() - (app.since ?? 0))}`;
  const head = `${output.paint("bold", app.name ?? "")}  ${serving}${app.deleting ? output.paint("red", "  being destroyed") : ""}`;
  const lines = [head, ...app.urls.map((url) => `  ${output.paint("cyan", url)}`)];
  if (app.rollout)
    lines.push(
      `  ${output.paint("yellow", app.rollout.reason)} of release ${app.rollout.release}: ${app.rollout.phase}, ${durationText(Date.now() - app.rollout.startedAt)}`,
    );
  if (app.waiting)
    lines.push(
      `  ${output.paint("yellow", "waiting")}: ${app.waiting.reason} of release ${app.waiting.release}`,
    );
  if (app.warm)
    lines.push(
      `  release ${app.warm.release} is warm for ${durationText(app.warm.until - Date.now())} more (holdfast rollback ${app.name})`,
    );
  lines.push("", indent(renderInstances(app, output)));
  if (app.traffic.length > 0) lines.push("", indent(renderTraffic(app, windowMs, output)));
  const jobs = Object.entries(app.jobs);
  if (jobs.length > 0)
    lines.push(
      "",
      ...jobs.map(
        ([job, { lastRun }]) =>
          `  job ${job}: ${lastRun ? `${lastRun.outcome}, ${durationText(Date.now() - lastRun.at)} ago${lastRun.detail ? ` (${lastRun.detail})` : ""}` : "not due yet"}`,
      ),
    );
  return lines.join("\n");
}

function renderInstances({ instances }: AppView, output: Output): string {
  if (instances.length === 0) return "no instances";
  const rows = instances.map((one) => [
    `${one.component}.${one.name.split(".").at(-1)}`,
    `r${one.release}`,
    paintState(one.state, output),
    `${durationText(Date.now() - one.startedAt)}`,
    one.restarts > 0 ? `${one.restarts} restarts` : "",
    one.detail ?? killText(one),
  ]);
  return output.table(rows, ["instance", "release", "state", "up", "", ""]);
}

const killText = ({ memoryKill }: AppView["instances"][number]): string =>
  memoryKill === undefined
    ? ""
    : `${durationText(Date.now() - memoryKill.at)} ago: ${memoryKill.detail}`;

function paintState(state: string, output: Output): string {
  if (state === "ready") return output.paint("green", state);
  if (["crashed", "crash-loop", "unhealthy"].includes(state)) return output.paint("red", state);
  return output.paint("dim", state);
}

function renderTraffic({ traffic }: AppView, windowMs: number, output: Output): string {
  const rows = traffic.map((one) => [
    one.service,
    one.release > 0 ? `r${one.release}` : "edge",
    `${(one.share * 100).toFixed(1)} %`,
    one.requestsPerSecond.toFixed(1),
    `${((one.errors / Math.max(1, one.requests)) * 100).toFixed(2)} %`,
    one.p50Ms.toFixed(0),
    one.p95Ms.toFixed(0),
    one.p99Ms.toFixed(0),
  ]);
  return output.table(rows, [
    `last ${durationText(windowMs)}`,
    "by",
    "share",
    "req/s",
    "errors",
    "p50 ms",
    "p95 ms",
    "p99 ms",
  ]);
}

function renderEngines({ engines }: Status, output: Output): string {
  return output.table(
    engines.map((one) => [
      one.kind,
      one.engine,
      one.version ?? "-",
      one.state === "ready" ? output.paint("green", one.state) : output.paint("yellow", one.state),
      one.address ?? "",
      (one.state === "ready" ? one.note : one.detail) ?? "",
    ]),
  );
}

const indent = (text: string): string =>
  text
    .split("\n")
    .map((line) => `  ${line}`)
    .join("\n");
