// What is not as usual, and what runs out when.

import type { Forecast } from "../../api/insight-routes.ts";
import type { AnomalyReport, Departure } from "../../kernel/signal.ts";
import type { Command } from "../command.ts";
import { durationText, type Output } from "../output.ts";
import { sinceMsOf } from "./since.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const WEEK_HOURS = 7 * 24;

export const anomalies: Command = {
  usage: "anomalies [app]",
  summary:
    "List anomalies: hours with unusual requests, errors or latency for that hour of the week.",
  details:
    "Baselines are learned from request records. Hours are UTC. The method is in docs/guides/metrics.md.",
  examples: ["holdfast anomalies", "holdfast anomalies storefront --since 7d"],
  options: [
    { flags: "--since <duration>", description: "look at the last 6h, 1d, 30d", default: "1d" },
  ],
  run: async ({ client, output, environment }, [app], options) => {
    const report = await client.get("/v1/anomalies", {
      environment,
      app: app === undefined ? undefined : String(app),
      sinceMs: sinceMsOf(options["since"]),
    });
    output.result(report, () => renderAnomalies(report, output));
    return 0;
  },
};

function renderAnomalies({ departures, known }: AnomalyReport, output: Output): string {
  const learning = known.filter(({ hours }) => hours < 3 * WEEK_HOURS);
  const table =
    departures.length === 0
      ? "nothing departs from what is usual"
      : output.table(
          departures.map((one) => [
            new Date(one.hour).toISOString().slice(0, 16),
            `${one.app}/${one.service}`,
            NAMES[one.what],
            output.paint(one.what === "requests" ? "yellow" : "red", valueText(one, one.value)),
            valueText(one, one.usual),
            `${valueText(one, one.low)} to ${valueText(one, one.high)}`,
          ]),
          ["hour (UTC)", "service", "what", "was", "usual", "expected"],
        );
  if (known.length === 0) return "no hour of a service is over yet: there is nothing to compare";
  return [
    table,
    ...(learning.length > 0
      ? [
          "",
          "still learning, compared with other hours meanwhile:",
          ...learning.map(
            ({ app, service, hours }) =>
              `  ${app}/${service} knows ${durationText(hours * HOUR_MS)} of three weeks`,
          ),
        ]
      : []),
  ].join("\n");
}

const NAMES: Readonly<Record<Departure["what"], string>> = {
  requests: "requests/h",
  errors: "errors",
  p95: "p95",
};

function valueText({ what }: Departure, value: number): string {
  if (what === "errors") return `${(value * 100).toFixed(2)} %`;
  return what === "p95" ? durationText(value) : String(Math.round(value));
}

export const forecast: Command = {
  usage: "forecast",
  summary: "Forecast when disk, memory, connections and request capacity run out.",
  details:
    "Based on up to four weeks of peaks. Request capacity is derived from the CPU limit and the current CPU time per request.",
  examples: ["holdfast forecast", "holdfast forecast --json"],
  run: async ({ client, output, environment }) => {
    const facts = await client.get("/v1/forecast", {
      environment,
    });
    output.result(facts, () => renderForecasts(facts.forecasts, output));
    return 0;
  },
};

const YEAR_MS = 365 * DAY_MS;
const SOON_MS = 7 * DAY_MS;
const HIGH_SHARE = 0.8;

function renderForecasts(forecasts: readonly Forecast[], output: Output): string {
  if (forecasts.length === 0) return "nothing was measured yet";
  return output.table(
    forecasts.map((one) => {
      const share = one.used / one.limit;
      const percent = `${(share * 100).toFixed(1)} %`;
      return [
        one.what,
        one.of,
        amountText(one, one.used),
        amountText(one, one.limit),
        share > HIGH_SHARE ? output.paint("red", percent) : percent,
        one.perDay === undefined || one.trend === "steady"
          ? one.trend
          : `${one.perDay > 0 ? "+" : "-"}${amountText(one, Math.abs(one.perDay))} a day`,
        endText(one, output),
      ];
    }),
    ["what", "of", "used", "limit", "", "trend", "runs out"],
  );
}

function endText(one: Forecast, output: Output): string {
  if (one.trend === "unknown") {
    const needed = one.neededMs > 0 ? ` of ${durationText(one.neededMs)}` : "";
    return `too little is known: ${durationText(one.knownMs)}${needed}`;
  }
  const now = Date.now();
  if (one.runsOutAt === undefined || one.runsOutAt - now > YEAR_MS) return "not within a year";
  const inText = (at: number | undefined): string =>
    at === undefined || at - now > YEAR_MS ? "never" : durationText(Math.max(0, at - now));
  const text = `in ${inText(one.runsOutAt)} (${inText(one.earliestAt)} to ${inText(one.latestAt)})`;
  return output.paint(one.runsOutAt - now < SOON_MS ? "red" : "yellow", text);
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

function amountText({ unit }: Forecast, amount: number): string {
  if (unit !== "bytes") return amount >= 100 ? String(Math.round(amount)) : amount.toFixed(1);
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log2(Math.max(1, amount)) / 10));
  return `${(amount / 1024 ** power).toFixed(1)} ${UNITS[power]}`;
}
