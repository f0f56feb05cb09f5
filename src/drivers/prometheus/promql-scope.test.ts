import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { scopeToEnvironment } from "./promql-scope.ts";

const E = 'environment="staging"';

describe("scopeToEnvironment", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["up", `up{${E}}`],
    ["up{}", `up{${E}}`],
    ["up{ }", `up{${E} }`],
    ['up{job="a",}', `up{${E},job="a",}`],
    ['{__name__=~"holdfast_.*"}', `{${E},__name__=~"holdfast_.*"}`],
    ['{"with.dot", a="b"}', `{${E},"with.dot", a="b"}`],
    [
      'sum by (environment) (rate(a[5m] offset 1h)) / on () group_left b{x!="y"} > bool 1',
      `sum by (environment) (rate(a{${E}}[5m] offset 1h)) / on () group_left b{${E},x!="y"} > bool 1`,
    ],
    [
      "max_over_time(rate(a[1m])[1h:5m] @ end())",
      `max_over_time(rate(a{${E}}[1m])[1h:5m] @ end())`,
    ],
    [
      'label_replace(a, "environment", "x", "", "")',
      `label_replace(a{${E}}, "environment", "x", "", "")`,
    ],
    [
      "absent(a) or vector(1) unless time() # b{",
      `absent(a{${E}}) or vector(1) unless time() # b{`,
    ],
    ['a{environment="production"}', `a{${E},environment="production"}`],
    ['a{environment=~".+"} or b', `a{${E},environment=~".+"} or b{${E}}`],
    ['a{x="}"} + b{y=\'{\'} + c{z=`"`}', `a{${E},x="}"} + b{${E},y='{'} + c{${E},z=\`"\`}`],
    ["1 + 2", "1 + 2"],
    ["sum", `sum{${E}}`],
  ];
  for (const [given, scoped] of cases)
    it(`holds ${given}`, () => assert.equal(scopeToEnvironment(given, "staging"), scoped));

  for (const broken of ["a{", "a}", "a{b=}", "sum(a", "a b", 'a{x="', "a[5m", "a\u0000b", ""])
    it(`refuses what it can't read: ${JSON.stringify(broken)}`, () =>
      assert.throws(() => scopeToEnvironment(broken, "staging"), /can't be read/));
});
