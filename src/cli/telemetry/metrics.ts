import type { DeployView } from "../../api/monitoring-routes.ts";
import { wholeNumber } from "../app/change.ts";
import type { Command } from "../command.ts";
import { type Output, oneLine } from "../output.ts";
import { deploysSince, deployText, momentOf } from "./deploys.ts";
import { sinceMsOf } from "./since.ts";

interface Answer {
  readonly data: {
    readonly resultType: string;
    readonly result: readonly {
      readonly metric: Readonly<Record<string, string>>;
      readonly value?: readonly [number, string];
      readonly values?: readonly (readonly [number, string])[];
    }[];
  };
}

const POINTS = 60;
const POINTS_MAX = 1_000;
const STEP_MIN_S = 5;

export const metrics: Command = {
  usage: "metrics <promql>",
  summary: "Query metrics in PromQL; --since draws a time series.",
  details:
    "Grafana can use the same API: docs/guides/metrics.md. Without --env it covers all environments and requires a role in all.",
  examples: [
    "holdfast metrics 'sum by (service, release) (rate(holdfast_requests_total[1m]))'",
    "holdfast metrics 'holdfast_instance_memory_bytes' --since 1h",
  ],
  options: [
    { flags: "--since <duration>", description: "time range: 5m, 2h, 1d" },
    {
      flags: "--points <count>",
      description: "number of points in the series",
      default: String(POINTS),
    },
  ],
  run: async (context, [promql], options) => {
    const { client, output } = context;
    const query = String(promql);
    const sinceMs = sinceMsOf(options["since"]);
    const points = Math.min(
      POINTS_MAX,
      wholeNumber(String(options["points"] ?? POINTS), "--points", 2),
    );
    const environment = options["env"] as string | undefined;
    const own = environment === undefined ? {} : { environment };
    const end = Date.now() / 1000;
    const step = Math.max(STEP_MIN_S, sinceMs / 1000 / points);
    const answer = await client.get(
      `/v1/prometheus/api/v1/${sinceMs > 0 ? "query_range" : "query"}`,
      sinceMs > 0 ? { ...own, query, start: end - sinceMs / 1000, end, step } : { ...own, query },
    );
    const given = answer as unknown as Answer;
    if (sinceMs === 0) {
      output.result(given.data, () => render(given, output));
      return 0;
    }
    const deploys = await deploysSince(context, sinceMs);
    // A short past has fewer points than were asked for: Prometheus has one each few seconds.
    const columns = Math.round(sinceMs / 1000 / step);
    const axis = { begin: end - sinceMs / 1000, step, points: columns };
    output.result({ ...given.data, deploys }, () => render(given, output, axis, deploys));
    return 0;
  },
};

/** Seconds since the epoch, seconds, and how many of those steps. */
interface Axis {
  readonly begin: number;
  readonly step: number;
  readonly points: number;
}

const columnOf = ({ begin, step }: Axis, seconds: number): number =>
  Math.round((seconds - begin) / step);

function render(
  { data }: Answer,
  output: Output,
  axis: Axis = { begin: 0, step: 1, points: 0 },
  deploys: readonly DeployView[] = [],
): string {
  // A number alone has no series.
  if (data.resultType === "scalar" || data.resultType === "string")
    return String((data.result as unknown as [number, string])[1]);
  if (data.result.length === 0) return "no series matches";
  const rows = data.result.map(({ metric, value, values }) => {
    if (!values) return [labelsText(metric), numberText(Number(value?.[1]))];
    // Of a range that was asked for in PromQL itself: every point that there is.
    if (axis.points === 0)
      return [
        labelsText(metric),
        output.paint("cyan", sparkline(values.slice(-POINTS).map(([, text]) => Number(text)))),
        numberText(Number(values.at(-1)?.[1])),
      ];
    const line = Array<number>(axis.points + 1).fill(Number.NaN);
    for (const [seconds, text] of values) line[columnOf(axis, seconds)] = Number(text);
    return [
      labelsText(metric),
      output.paint("cyan", sparkline(line)),
      numberText(Number(values.at(-1)?.[1])),
    ];
  });
  if (deploys.length === 0) return output.table(rows);
  const columns = deploys.map((one) => columnOf(axis, momentOf(one) / 1000));
  const marks = Array.from({ length: axis.points + 1 }, (_, at) =>
    columns.includes(at) ? "▲" : " ",
  );
  return [
    output.table([...rows, ["deploys", marks.join(""), ""]]),
    ...deploys.map(
      (one) => `▲ ${new Date(momentOf(one)).toISOString()} ${deployText(one, output)}`,
    ),
  ].join("\n");
}

const BARS = "▁▂▃▄▅▆▇█";

/** From the least to the most that there was. */
export function sparkline(values: readonly number[]): string {
  const finite = values.filter(Number.isFinite);
  const least = Math.min(...finite);
  const span = Math.max(...finite) - least;
  return values
    .map((value) => {
      if (!Number.isFinite(value)) return " ";
      const at = span === 0 ? 0 : Math.round(((value - least) / span) * (BARS.length - 1));
      return BARS[at];
    })
    .join("");
}

function labelsText({ __name__: name = "", ...labels }: Readonly<Record<string, string>>): string {
  const parts = Object.entries(labels).map(([key, value]) => `${key}=${oneLine(value)}`);
  return [name, ...parts].filter(Boolean).join(" ") || "(all)";
}

export const numberText = (value: number): string =>
  Number.isInteger(value) ? String(value) : value.toPrecision(4);
