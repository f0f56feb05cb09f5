import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { metricsIn } from "./metric-check.ts";

describe("metrics in a query", () => {
  for (const [promql, expected] of [
    ["up", ["up"]],
    ['sum(rate(shop_orders_total{release="$release"}[1m]))', ["shop_orders_total"]],
    [
      "sum by (service) (rate(a_total[5m])) / ignoring(code) group_left(x) sum without (y) (b:total) > bool 2",
      ["a_total", "b:total"],
    ],
    [
      'histogram_quantile(0.95, sum(rate(h_bucket{le!="+Inf", job=~"a b"}[1m] offset 5m)) by (le))',
      ["h_bucket"],
    ],
    ["a and b or c unless d # e", ["a", "b", "c", "d"]],
    ['label_replace(x, "to", "$1", "from", "(.*)")', ["x"]],
    ["1 + 2 * inf", []],
    ["avg_over_time(m[1h:5m] @ start())", ["m"]],
  ] as const)
    it(promql, () => assert.deepEqual(metricsIn(promql), expected));
});
