// Metrics that arrive by OTLP, under the names that Prometheus' conventions give them: dots become
// underscores, the unit is part of the name, what only grows ends in `_total`.

import { RESERVED_METRICS } from "../../kernel/signal.ts";
import {
  type ExponentialPoint,
  type HistogramPoint,
  type KeyValue,
  type Metric,
  type MetricsRequest,
  plainObject,
} from "../otlp/messages.ts";
import type { Sender } from "../otlp/sender.ts";
import {
  type Labels,
  type MetricRegistry,
  type MetricType,
  metricName,
  namedLabels,
} from "./registry.ts";

const RESERVED = new RegExp(`^(${RESERVED_METRICS})$`);
const UNITS: Readonly<Record<string, string>> = {
  ms: "milliseconds",
  s: "seconds",
  us: "microseconds",
  ns: "nanoseconds",
  min: "minutes",
  h: "hours",
  By: "bytes",
  KiBy: "kibibytes",
  MiBy: "mebibytes",
  "%": "percent",
  Cel: "celsius",
};
/** Buckets of an exponential histogram are merged until there are no more than this. */
const BUCKETS_MAX = 40;

/** Number of points that were not taken. */
export function takeMetrics(
  registry: MetricRegistry,
  sender: Sender,
  { resourceMetrics = [] }: MetricsRequest,
): number {
  let refused = 0;
  for (const { scopeMetrics = [] } of resourceMetrics)
    for (const { metrics = [] } of scopeMetrics)
      for (const metric of metrics) refused += takeMetric(registry, sender, metric);
  return refused;
}

interface Point {
  readonly attributes?: readonly KeyValue[];
}

function takeMetric(registry: MetricRegistry, sender: Sender, metric: Metric): number {
  const refused = new Set<Point>();
  const { environment, app, service, release, instance } = sender;
  const own: Labels = { environment, app, service, release, instance };
  // A histogram shows the labels of one point many times over.
  const known = new Map<Point, Labels>();
  const labelled = (point: Point): Labels => {
    const labels = known.get(point) ?? labelsOf(point.attributes);
    known.set(point, labels);
    return labels;
  };
  const observe = (
    type: MetricType,
    point: Point,
    value: number,
    more: { suffix?: string; labels?: Labels; isDelta?: boolean } = {},
  ): void => {
    const isTaken = registry.observe({
      name: nameOf(metric, type),
      type,
      help: metric.description ?? "",
      // What the platform says of a series wins over what the app says.
      labels: { ...labelled(point), ...own, ...more.labels },
      value,
      owner: `${environment}/${app}`,
      ...(more.suffix !== undefined && { suffix: more.suffix }),
      ...(more.isDelta !== undefined && { isDelta: more.isDelta }),
    });
    if (!isTaken) refused.add(point);
  };
  if (RESERVED.test(metricName(metric.name))) {
    registry.refuse(`${environment}/${app}`, metricName(metric.name));
    return pointsOf(metric).length;
  }
  for (const point of metric.gauge?.dataPoints ?? [])
    observe("gauge", point, Number(point.asDouble ?? point.asInt ?? 0));
  if (metric.sum) {
    const type = metric.sum.isMonotonic ? "counter" : "gauge";
    const isDelta = isDeltaOf(metric.sum.aggregationTemporality);
    for (const point of metric.sum.dataPoints ?? [])
      observe(type, point, Number(point.asDouble ?? point.asInt ?? 0), { isDelta });
  }
  const histogram = (
    point: HistogramPoint | ExponentialPoint,
    buckets: readonly (readonly [bound: number, count: number])[],
    isDelta: boolean,
  ): void => {
    let total = 0;
    for (const [le, count] of buckets) {
      total += count;
      const labels = { le: le === Infinity ? "+Inf" : String(le) };
      observe("histogram", point, total, { suffix: "_bucket", labels, isDelta });
    }
    observe("histogram", point, Number(point.sum ?? 0), { suffix: "_sum", isDelta });
    observe("histogram", point, Number(point.count ?? 0), { suffix: "_count", isDelta });
  };
  const { histogram: explicit, exponentialHistogram: exponential } = metric;
  for (const point of explicit?.dataPoints ?? [])
    histogram(point, explicitBuckets(point), isDeltaOf(explicit?.aggregationTemporality));
  for (const point of exponential?.dataPoints ?? [])
    histogram(point, exponentialBuckets(point), isDeltaOf(exponential?.aggregationTemporality));
  for (const point of metric.summary?.dataPoints ?? []) {
    for (const { quantile = 0, value = 0 } of point.quantileValues ?? [])
      observe("summary", point, value, { labels: { quantile } });
    observe("summary", point, Number(point.sum ?? 0), { suffix: "_sum" });
    observe("summary", point, Number(point.count ?? 0), { suffix: "_count" });
  }
  return refused.size;
}

const pointsOf = ({
  gauge,
  sum,
  histogram,
  exponentialHistogram,
  summary,
}: Metric): readonly Point[] =>
  [gauge, sum, histogram, exponentialHistogram, summary].flatMap((one) => one?.dataPoints ?? []);

function nameOf({ name, unit = "" }: Metric, type: MetricType): string {
  const base = metricName(name);
  const suffix = UNITS[unit];
  const named = suffix !== undefined && !base.endsWith(`_${suffix}`) ? `${base}_${suffix}` : base;
  return type === "counter" && !named.endsWith("_total") ? `${named}_total` : named;
}

const labelsOf = (attributes: readonly KeyValue[] | undefined): Labels =>
  namedLabels(
    Object.fromEntries(
      Object.entries(plainObject(attributes))
        .filter(([key]) => key !== "job")
        .map(([key, value]) => [key, typeof value === "string" ? value : JSON.stringify(value)]),
    ),
  );

const DELTA = 1;
const isDeltaOf = (temporality: number | undefined): boolean => temporality === DELTA;

function explicitBuckets({ bucketCounts = [], explicitBounds = [] }: HistogramPoint) {
  return bucketCounts.map((count, i) => [explicitBounds[i] ?? Infinity, Number(count)] as const);
}

// Bucket i of scale s holds what is over 2^(i/2^s) and not over 2^((i+1)/2^s).
function exponentialBuckets(point: ExponentialPoint): (readonly [number, number])[] {
  let scale = point.scale ?? 0;
  let offset = point.positive?.offset ?? 0;
  let counts = (point.positive?.bucketCounts ?? []).map(Number);
  while (counts.length > BUCKETS_MAX) {
    const merged: number[] = [];
    for (const [i, count] of counts.entries()) {
      const at = Math.floor((i + offset) / 2) - Math.floor(offset / 2);
      merged[at] = (merged[at] ?? 0) + count;
    }
    counts = merged;
    offset = Math.floor(offset / 2);
    scale -= 1;
  }
  const bound = (index: number): number => 2 ** (index / 2 ** scale);
  return [
    // What is below 0 is there, too: up to 0 it is all that is in no other bucket.
    [0, Math.max(0, Number(point.count ?? 0) - counts.reduce((sum, count) => sum + count, 0))],
    ...counts.map((count, i) => [bound(offset + i + 1), count] as const),
    [Infinity, 0],
  ];
}
