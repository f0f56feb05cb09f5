// A question in PromQL, held to one environment: every selector gets the matcher, whatever the
// question says itself. Read with Prometheus' own grammar; what that can't read whole is refused.

import { parser } from "@prometheus-io/lezer-promql";
import { invalid } from "../../kernel/error.ts";

/** @throws metrics.bad_query where it can't be read */
export function scopeToEnvironment(promql: string, environment: string): string {
  const matcher = `environment="${environment}"`;
  const scoped = selectorsOf(promql)
    .toReversed()
    .reduce((text, { end, braces }) => insert(text, matcher, end, braces), promql);
  for (const { from, to } of selectorsOf(scoped))
    if (!scoped.slice(from, to).includes(matcher)) throw unreadable(promql);
  return scoped;
}

interface Selector {
  readonly from: number;
  readonly to: number;
  /** Behind the name of the metric, or behind the opening brace. */
  readonly end: number;
  readonly braces: "none" | "empty" | "filled";
}

function selectorsOf(promql: string): Selector[] {
  const selectors: Selector[] = [];
  parser.parse(promql).iterate({
    enter: ({ name, type, node, from, to }) => {
      if (type.isError) throw unreadable(promql, from);
      if (name !== "VectorSelector") return;
      const matchers = node.getChild("LabelMatchers");
      const braces = matchers === null ? "none" : matchers.firstChild ? "filled" : "empty";
      selectors.push({ from, to, end: matchers === null ? to : matchers.from + 1, braces });
    },
  });
  return selectors;
}

function insert(text: string, matcher: string, at: number, braces: Selector["braces"]): string {
  const what = braces === "none" ? `{${matcher}}` : braces === "filled" ? `${matcher},` : matcher;
  return text.slice(0, at) + what + text.slice(at);
}

const unreadable = (promql: string, at?: number): Error =>
  invalid(
    "metrics.bad_query",
    `the query can't be read${at === undefined ? "" : ` at position ${at + 1}`}: ${promql.slice(0, 300)}`,
    {
      hint: "for example: holdfast metrics 'sum by (service) (rate(holdfast_requests_total[1m]))'",
    },
  );
