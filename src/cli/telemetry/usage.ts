// What users did and saw, as their browsers reported it.

import type { PageUsage, UsageReport, WebVitals } from "../../kernel/signal.ts";
import { wholeNumber } from "../app/change.ts";
import type { Command } from "../command.ts";
import { durationText, type Output } from "../output.ts";
import { sinceMsOf } from "./since.ts";

export const usage: Command = {
  usage: "usage <app>",
  summary: "What users did and saw: page views, visitors, web vitals, errors, feedback.",
  details:
    "For apps with `usage: true` in holdfast.yaml whose pages load /_holdfast/usage.js. Web vitals are 75th percentiles: LCP is good up to 2.5 s, INP up to 200 ms, CLS up to 0.1.",
  examples: ["holdfast usage storefront", "holdfast usage storefront --since 7d --release 12"],
  options: [
    { flags: "--since <duration>", description: "look at the last 1h, 1d, 30d", default: "1d" },
    { flags: "--release <number>", description: "only of this release" },
    { flags: "-n, --lines <count>", description: "of each list at most this many", default: "10" },
  ],
  run: async ({ client, output, environment }, [app], options) => {
    const release = options["release"];
    const report = await client.get<UsageReport>("/v1/usage", {
      environment,
      app: String(app),
      release: release === undefined ? undefined : wholeNumber(String(release), "--release"),
      sinceMs: sinceMsOf(options["since"]),
      limit: wholeNumber(String(options["lines"] ?? "10"), "-n", 1),
    });
    output.result(report, () => render(report, output));
    return 0;
  },
};

const VITAL_HEAD = ["LCP", "INP", "CLS"];

function render(report: UsageReport, output: Output): string {
  const {
    views,
    visitors,
    pages,
    slowest,
    failing,
    releases,
    referrers,
    browsers,
    errors,
    feedback,
  } = report;
  const named = (title: string, rows: readonly (readonly string[])[], head: readonly string[]) =>
    rows.length === 0 ? [] : [`${output.paint("bold", title)}\n${output.table(rows, head)}`];
  const vitals = (of: WebVitals): string[] => [
    judged(of.lcpMs, 2_500, 4_000, durationText, output),
    judged(of.inpMs, 200, 500, durationText, output),
    judged(of.cls, 0.1, 0.25, (value) => value.toFixed(2), output),
  ];
  const page = (of: PageUsage): string[] => [
    of.page,
    String(of.views),
    String(of.visitors),
    ...vitals(of),
    String(of.errors),
    String(of.failed),
  ];
  const pageHead = ["page", "views", "visitors", ...VITAL_HEAD, "errors", "failed"];
  const blocks = [
    `${views} page views, ${visitors} visitors`,
    ...named("pages", pages.map(page), pageHead),
    ...named("slowest pages", slowest.slice(0, 3).map(page), pageHead),
    ...named("most failing pages", failing.slice(0, 3).map(page), pageHead),
    ...named(
      "releases",
      releases.map((of) => [
        `${of.service} r${of.release}`,
        String(of.views),
        ...vitals(of),
        String(of.errors),
      ]),
      ["release", "views", ...VITAL_HEAD, "errors"],
    ),
    ...named(
      "errors in browsers",
      errors.map(({ count, page, release, text }) => [String(count), page, `r${release}`, text]),
      ["count", "page", "release", "error"],
    ),
    ...named(
      "came from",
      referrers.map(({ host, views }) => [host, String(views)]),
      ["host", "views"],
    ),
    ...named(
      "browsers",
      browsers.map(({ browser, views }) => [browser, String(views)]),
      ["browser", "views"],
    ),
    ...named(
      "feedback",
      feedback.map(({ time, page, rating, text }) => [
        new Date(time).toISOString().slice(0, 16),
        page,
        rating === undefined ? "-" : `${rating}/5`,
        text,
      ]),
      ["when", "page", "rating", "text"],
    ),
  ];
  if (views === 0 && failing.length === 0)
    return "no page view was reported: holdfast.yaml needs `usage: true`, and pages <script defer src=/_holdfast/usage.js>";
  return blocks.join("\n\n");
}

function judged(
  value: number | undefined,
  good: number,
  poor: number,
  text: (value: number) => string,
  output: Output,
): string {
  if (value === undefined) return "-";
  if (value <= good) return output.paint("green", text(value));
  return output.paint(value > poor ? "red" : "yellow", text(value));
}
