import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Metric, MetricsRequest } from "../otlp/messages.ts";
import { takeMetrics } from "./otlp-metrics.ts";
import { MetricRegistry, SERIES_PER_OWNER } from "./registry.ts";

const SENDER = {
  environment: "production",
  app: "shop",
  service: "web",
  release: 3,
  instance: "production.shop.web.r3.1",
};
const WHOSE =
  'environment="production",app="shop",service="web",release="3",instance="production.shop.web.r3.1"';

describe("metric registry", () => {
  let now = 0;
  const count = (registry: MetricRegistry, labels: Record<string, string>, owner = "a"): boolean =>
    registry.observe({
      name: "hits_total",
      type: "counter",
      help: "Hits.",
      labels,
      value: 2,
      isDelta: true,
      owner,
    });

  it("shows a new counter as 0 once, so that its first increase is seen", () => {
    const registry = new MetricRegistry(() => now);
    count(registry, { path: 'a"b\\c\nd' });
    assert.equal(
      registry.render(),
      '# HELP hits_total Hits.\n# TYPE hits_total counter\nhits_total{path="a\\"b\\\\c\\nd"} 0\n',
    );
    count(registry, { path: 'a"b\\c\nd' });
    assert.match(registry.render(), / 4\n$/);
  });

  it("takes a bounded number of series per owner, names what it refused, and forgets the silent", () => {
    const registry = new MetricRegistry(() => now);
    for (let i = 0; i < SERIES_PER_OWNER + 50; i += 1) count(registry, { user: String(i) });
    count(registry, { user: "1" }, "another");
    assert.deepEqual(registry.refused, [{ owner: "a", metric: "hits_total", count: 50 }]);
    assert.equal(registry.render().split("\n").length, SERIES_PER_OWNER + 1 + 2);
    now += 11 * 60_000;
    assert.equal(registry.render(), "\n");
    count(registry, { user: "new" });
    assert.match(registry.render(), /user="new"/);
  });

  it("takes nothing from an app that others count, nor a label that says who does", () => {
    const registry = new MetricRegistry(() => 0);
    const point = {
      asDouble: 0,
      attributes: [{ key: "job", value: { stringValue: "host" } }],
    };
    const metric = (name: string) => ({ name, gauge: { dataPoints: [point] } });
    const forged = ["node_filesystem_avail_bytes", "holdfast.engine.ready", "up", "pg_up"];
    const metrics = [...forged, "uptime"].map(metric);
    takeMetrics(registry, SENDER, { resourceMetrics: [{ scopeMetrics: [{ metrics }] }] });
    const text = registry.render();
    assert.doesNotMatch(text, /node_|holdfast_|pg_|^up |job=/m);
    assert.match(text, /^uptime\{/m);
    assert.equal(registry.refused.length, forged.length);
  });

  it("names metrics of OTLP as Prometheus does, as the sender's, whatever they say", () => {
    const registry = new MetricRegistry(() => now);
    const point = {
      attributes: [
        { key: "http.route", value: { stringValue: "/cart" } },
        { key: "app", value: { stringValue: "forged" } },
      ],
    };
    const metrics: MetricsRequest = {
      resourceMetrics: [
        {
          scopeMetrics: [
            {
              metrics: [
                {
                  name: "cart.adds",
                  sum: {
                    isMonotonic: true,
                    aggregationTemporality: 2,
                    dataPoints: [{ ...point, asInt: "7" }],
                  },
                },
                {
                  name: "queue.wait",
                  unit: "s",
                  histogram: {
                    aggregationTemporality: 2,
                    dataPoints: [
                      { count: "3", sum: 2.5, bucketCounts: ["1", "2"], explicitBounds: [1] },
                    ],
                  },
                },
                {
                  name: "exp",
                  exponentialHistogram: {
                    aggregationTemporality: 2,
                    dataPoints: [
                      {
                        count: 4,
                        sum: 9,
                        scale: 0,
                        zeroCount: 1,
                        positive: { offset: 0, bucketCounts: [2, 1] },
                      },
                    ],
                  },
                },
              ],
            },
          ],
        },
      ],
    };
    takeMetrics(registry, SENDER, metrics);
    const text = registry.render();
    for (const line of [
      `cart_adds_total{app="shop",http_route="/cart",environment="production",service="web",release="3",instance="production.shop.web.r3.1"} 7`,
      `queue_wait_seconds_bucket{${WHOSE},le="1"} 1`,
      `queue_wait_seconds_bucket{${WHOSE},le="+Inf"} 3`,
      `queue_wait_seconds_sum{${WHOSE}} 2.5`,
      `exp_bucket{${WHOSE},le="0"} 1`,
      `exp_bucket{${WHOSE},le="2"} 3`,
      `exp_bucket{${WHOSE},le="4"} 4`,
      `exp_count{${WHOSE}} 4`,
    ])
      assert.ok(text.includes(`${line}\n`), `${line}\n\n${text}`);
  });

  const take = (registry: MetricRegistry, ...metrics: readonly Metric[]): number =>
    takeMetrics(registry, SENDER, { resourceMetrics: [{ scopeMetrics: [{ metrics }] }] });
  const gauge = (name: string, ...keys: readonly string[]): Metric => ({
    name,
    gauge: {
      dataPoints: [
        {
          asDouble: 1,
          attributes: keys.map((key, i) => ({ key, value: { stringValue: `${i}` } })),
        },
      ],
    },
  });

  it("writes nothing that Prometheus can't read, whatever the labels are called", () => {
    const registry = new MetricRegistry(() => 0);
    assert.equal(take(registry, gauge("twice", "user_id", "user.id")), 0);
    assert.equal(take(registry, gauge("own", "__name__", "", "__address__", "app")), 0);
    assert.equal(take(registry, gauge("")), 1, "a metric without a name");
    const text = registry.render();
    assert.match(text, /^twice\{user_id="1;0",/m);
    assert.match(text, /^own\{_address__="2",_name__="0",app="shop",/m);
    assert.doesNotMatch(text, /\{=|,=|\b__|^# HELP {2}/m);
    for (const line of text.split("\n").filter((one) => one.includes("{"))) {
      const names = [...line.matchAll(/([a-zA-Z0-9_]+)="/g)].map(([, name]) => name);
      assert.equal(new Set(names).size, names.length, line);
    }
  });

  it("lets two apps call different things by one name", () => {
    const registry = new MetricRegistry(() => 0);
    const other = { ...SENDER, app: "other" };
    take(registry, gauge("shared"));
    const counts = { count: "2", sum: 2, bucketCounts: ["2"], explicitBounds: [] };
    const metrics = [{ name: "shared", histogram: { dataPoints: [counts] } }];
    const request = { resourceMetrics: [{ scopeMetrics: [{ metrics }] }] };
    assert.equal(takeMetrics(registry, other, request), 0);
    assert.match(registry.render(), /^shared_count\{.*app="other"/m);
  });

  it("counts what is below 0 in an exponential histogram", () => {
    const registry = new MetricRegistry(() => 0);
    const point = { count: 5, sum: 0, scale: 0, zeroCount: 1, positive: { bucketCounts: [1] } };
    take(registry, { name: "exp", exponentialHistogram: { dataPoints: [point] } });
    assert.match(registry.render(), /le="0"\} 4\n.*le="2"\} 5\n.*le="\+Inf"\} 5\n/);
  });
});
