// What users did and saw, as their browsers reported it.

import type { PageUsage, UsageReport } from "../../client/answers.ts";
import { wholeNumber } from "../app/change.ts";
import type { Command } from "../command.ts";
import { durationText, type Output } from "../output.ts";
import { sinceMsOf } from "./since.ts";

export const usage: Command = {
  usage: "usage <app>",
  summary: "Show page views, visitors, web vitals, browser errors and feedback.",
  details:
    "For apps with `usage: true` in holdfast.yaml whose pages load /_holdfast/usage.js. Web vitals are 75th percentiles: LCP is good up to 2.5 s, INP up to 200 ms, CLS up to 0.1.",
  examples: ["holdfast usage storefront", "holdfast usage storefront --since 7d --release 12"],
  options: [
    { flags: "--since <duration>", description: "look at the last 1h, 1d, 30d", default: "1d" },
    { flags: "--release <number>", description: "only of this release" },
    { flags: "-n, --lines <count>", description: "maximum rows of each list", default: "10" },
  ],
  run: async ({ client, output, environment }, [app], options) => {
    const release = options["release"];
    const report = await client.get("/v1/usage", {
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
  const { views, visitors, pages, slowest, failing, releases } = report;
  if (views === 0 && failing.length === 0)
    return "no page view was reported: holdfast.yaml needs `usage: true`, and pages <script defer src=/_holdfast/usage.js>";
  const vitals = (of: Pick<PageUsage, "lcpMs" | "inpMs" | "cls">): string[] => [
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
  const releaseRows = releases.map((of) => [
    `${of.service} r${of.release}`,
    String(of.views),
    ...vitals(of),
    String(of.errors),
  ]);
  return [
    `${views} page views, ${visitors} visitors (each counted once a day)`,
    ...titled("pages", pages.map(page), pageHead, output),
    ...titled("slowest pages", slowest.map(page), pageHead, output),
    ...titled("most failing pages", failing.map(page), pageHead, output),
    ...titled("releases", releaseRows, ["release", "views", ...VITAL_HEAD, "errors"], output),
    ...lists(report, output),
  ].join("\n\n");
}

function lists({ errors, referrers, browsers, feedback }: UsageReport, output: Output): string[] {
  return [
    ...titled(
      "errors in browsers",
      errors.map(({ count, page, release, text }) => [String(count), page, `r${release}`, text]),
      ["count", "page", "release", "error"],
      output,
    ),
    ...titled(
      "came from",
      referrers.map(({ host, views }) => [host, String(views)]),
      ["host", "views"],
      output,
    ),
    ...titled(
      "browsers",
      browsers.map(({ browser, views }) => [browser, String(views)]),
      ["browser", "views"],
      output,
    ),
    ...titled(
      "feedback",
      feedback.map(({ time, page, rating, text }) => [
        new Date(time).toISOString().slice(0, 16),
        page,
        rating === undefined ? "-" : `${rating}/5`,
        text,
      ]),
      ["when", "page", "rating", "text"],
      output,
    ),
  ];
}

/** A table with its title, or nothing where it is empty. */
const titled = (
  title: string,
  rows: readonly (readonly string[])[],
  head: readonly string[],
  output: Output,
): string[] =>
  rows.length === 0 ? [] : [`${output.paint("bold", title)}\n${output.table(rows, head)}`];

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
