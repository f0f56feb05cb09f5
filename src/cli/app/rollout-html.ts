// A finished rollout as one page that needs nothing else: no script, no font, no image from elsewhere.

import type { Answers, ArmSummary, SeriesPoint } from "../../client/answers.ts";
import { durationText } from "../output.ts";

export type RolloutReport = Extract<
  Answers["GET /v1/apps/{environment}/{app}/rollout"],
  { readonly series: unknown }
>;

const CHART = { width: 900, height: 180, left: 56, right: 12, top: 12, bottom: 24 };
const STYLE = `
:root { color-scheme: light dark; --ink: #1d2530; --soft: #68727f; --line: #d8dde3; --paper: #ffffff; --old: #68727f; --new: #0b6bcb; --bad: #b3261e; --good: #1a7f37; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa4b1; --line: #39424e; --paper: #14181d; --old: #9aa4b1; --new: #6cb2ff; --bad: #ff8a80; --good: #6fd08c; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 960px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem }
p { margin: .25rem 0 } .soft { color: var(--soft) } .bad { color: var(--bad) } .good { color: var(--good) }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
th { color: var(--soft); font-weight: 500 } td.n { font-variant-numeric: tabular-nums }
svg { width: 100%; height: auto } svg text { fill: var(--soft); font-size: 11px } .old { stroke: var(--old) } .new { stroke: var(--new) }
.key span { display: inline-block; width: 1.2em; height: 3px; vertical-align: middle; margin: 0 .4em 0 1em }`;

export function renderRolloutHtml(report: RolloutReport): string {
  const { app, environment, release, from, strategy, verdict } = report;
  const outcome = report.outcome ?? report.phase;
  const title = `${app} ${environment}: release ${release} ${outcome}`;
  const color = outcome === "succeeded" ? "good" : "bad";
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${text(title)}</title><style>${STYLE}</style></head>
<body>
<h1>${text(app)}: release ${release} <span class="${color}">${text(outcome)}</span></h1>
<p class="soft">${text(environment)}, ${strategy}${from === undefined ? "" : `, compared with release ${from}`}, ${text(new Date(report.startedAt).toISOString())}, ${text(durationText((report.endedAt ?? Date.now()) - report.startedAt))}</p>
<p><b>${text(verdict.verdict)}</b>: ${text(verdict.reason)}</p>
${report.stages.length > 0 ? stageTable(report) : ""}
${charts(report)}
${armTables(report)}
<h2>What happened</h2>
<table>${report.timeline.map(({ at, text: what }) => `<tr><td class="n soft">+${text(durationText(at - report.startedAt))}</td><td>${text(what)}</td></tr>`).join("")}</table>
${(report.failure?.log ?? []).length > 0 ? `<h2>Last output</h2><pre>${text(report.failure?.log.join("\n") ?? "")}</pre>` : ""}
<p class="soft">Intervals hold at every look at once, at 95 %. How releases are judged: docs/judgement.md</p>
</body></html>
`;
}

const stageTable = ({ stages }: RolloutReport): string =>
  `<h2>Stages</h2><table><tr><th>share</th><th>time</th><th>verdict</th><th>why</th></tr>${stages
    .map(
      ({ perMille, forMs, result }) =>
        `<tr><td class="n">${perMille / 10} %</td><td>${text(durationText(result ? result.until - result.since : forMs))}</td><td class="${result?.verdict === "fail" ? "bad" : ""}">${result?.verdict ?? "not reached"}</td><td>${text(result?.reason ?? "")}</td></tr>`,
    )
    .join("")}</table>`;

function armTables({ stages, release, from }: RolloutReport): string {
  const row = (service: string, of: number | undefined, arm: ArmSummary): string => {
    const rate =
      arm.requests === 0
        ? "-"
        : `${percent(arm.errors / arm.requests)} (${percent(arm.errorRate.low)} to ${percent(arm.errorRate.high)})`;
    const cells = (["p50", "p95", "p99"] as const).map((key) => {
      const one = arm.latency?.[key];
      return one ? `${one.ms.toFixed(1)} (${one.low.toFixed(1)} to ${one.high.toFixed(1)})` : "-";
    });
    return `<tr><td>${text(service)}</td><td>${of ?? "-"}</td>${[String(arm.requests), rate, ...cells].map((cell) => `<td class="n">${text(cell)}</td>`).join("")}</tr>`;
  };
  return stages
    .filter(({ result }) => result && Object.keys(result.arms).length > 0)
    .map(
      ({ perMille, result }) =>
        `<h2>At ${perMille / 10} %</h2><table><tr><th>service</th><th>release</th><th>requests</th><th>errors</th><th>p50 ms</th><th>p95 ms</th><th>p99 ms</th></tr>${Object.entries(
          result?.arms ?? {},
        )
          .map(
            ([service, { serving, candidate }]) =>
              row(service, from, serving) + row("", release, candidate),
          )
          .join("")}</table>`,
    )
    .join("");
}

const percent = (share: number): string => `${(share * 100).toFixed(2)} %`;

// --- charts

function charts({ series, release, from }: RolloutReport): string {
  if (series.length === 0)
    return `<p class="soft">Nobody asked anything in its time, or its telemetry is no longer kept.</p>`;
  const key = `<p class="soft key"><span style="background:var(--new)"></span>release ${release}${from === undefined ? "" : `<span style="background:var(--old)"></span>release ${from}`}</p>`;
  const seconds = stepSeconds(series);
  return [
    key,
    chart("Requests per second", series, release, ({ requests }) => requests / seconds),
    chart(
      "Errors, %",
      series,
      release,
      ({ requests, errors }) => (errors / Math.max(1, requests)) * 100,
    ),
    chart("p50, ms", series, release, ({ p50Ms }) => p50Ms),
    chart("p95, ms", series, release, ({ p95Ms }) => p95Ms),
  ].join("\n");
}

function stepSeconds(series: readonly SeriesPoint[]): number {
  const times = [...new Set(series.map(({ at }) => at))].sort((one, other) => one - other);
  const gaps = times.slice(1).map((at, i) => at - (times[i] ?? at));
  return Math.max(1, Math.min(...gaps, 60_000) / 1000);
}

function chart(
  title: string,
  series: readonly SeriesPoint[],
  release: number,
  figureOf: (point: SeriesPoint) => number,
): string {
  const { width, height, left, right, top, bottom } = CHART;
  const times = series.map(({ at }) => at);
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const max = Math.max(...series.map(figureOf)) || 1;
  const x = (at: number): number =>
    left + ((at - first) / Math.max(1, last - first)) * (width - left - right);
  const y = (value: number): number => height - bottom - (value / max) * (height - top - bottom);
  const lines = [...Map.groupBy(series, (point) => point.release)].map(([of, points]) => {
    const path = points
      .map(
        (point, i) =>
          `${i === 0 ? "M" : "L"}${x(point.at).toFixed(1)} ${y(figureOf(point)).toFixed(1)}`,
      )
      .join("");
    const dots = points.length === 1 ? ` stroke-linecap="round"` : "";
    return `<path d="${path}${points.length === 1 ? "h0.1" : ""}" class="${of === release ? "new" : "old"}" fill="none" stroke-width="2"${dots}/>`;
  });
  const grid = [0, 0.5, 1].map((part) => {
    const at = y(max * part).toFixed(1);
    return `<line x1="${left}" x2="${width - right}" y1="${at}" y2="${at}" stroke="var(--line)"/><text x="${left - 6}" y="${at}" dy="4" text-anchor="end">${(max * part).toPrecision(3)}</text>`;
  });
  const ends = `<text x="${left}" y="${height - 6}">0</text><text x="${width - right}" y="${height - 6}" text-anchor="end">${text(durationText(last - first))}</text>`;
  return `<h2>${text(title)}</h2><svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${text(title)}">${grid.join("")}${ends}${lines.join("")}</svg>`;
}

const ESCAPES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};
const text = (raw: string): string => raw.replaceAll(/[&<>"']/g, (char) => ESCAPES[char] ?? char);
