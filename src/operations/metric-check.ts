// Figures that an app names for its judgement, tried before anything begins: a query that is wrong, or
// that speaks of a metric nobody has, would leave every rollout without a verdict.

import { closest, distance } from "fastest-levenshtein";
import { invalid } from "../kernel/error.ts";
import type { AppMetric } from "../resources/app/rollout-policy.ts";
import type { OperationDeps } from "./operation-deps.ts";

const SINCE_MS = 10 * 60_000;
const NEAR_ENOUGH = 6;
/** What PromQL calls otherwise than metrics: operators, modifiers, label lists. */
const WORDS = new Set(
  "and or unless by without on ignoring group_left group_right bool offset start end inf nan atan2".split(
    " ",
  ),
);

/** @throws analysis.bad_metric, analysis.no_metric */
export async function assertMetrics(
  deps: OperationDeps,
  environment: string,
  app: string,
  metrics: readonly AppMetric[],
  serving: number,
): Promise<void> {
  const until = deps.clock.now();
  const scope = { environment, app, release: serving, since: until - SINCE_MS, until };
  for (const metric of metrics) {
    const { problem, isWrong, tally } = await deps.readMetric(metric, scope);
    if (tally && !metric.sql?.includes("$since"))
      throw invalid(
        "analysis.bad_metric",
        `rollout.analysis.metrics ${metric.name}: bad and total have to be of what is new, or the same would count again with every look`,
        { hint: "add to its SQL: time >= $since AND time < $until" },
      );
    if (isWrong)
      throw invalid("analysis.bad_metric", `rollout.analysis.metrics ${metric.name}: ${problem}`, {
        hint: "try it with holdfast metrics or holdfast query; $environment, $app and $release stand for what is looked at",
      });
    if (metric.promql !== undefined) await assertThere(deps, metric.name, metric.promql);
  }
}

async function assertThere(deps: OperationDeps, name: string, promql: string): Promise<void> {
  const answer = await deps.monitoring
    .ask("label/__name__/values", {})
    .catch(() => ({ data: undefined }));
  const { data: known } = answer as { data?: readonly string[] };
  // Where Prometheus does not answer nobody can say.
  if (!known) return;
  const missing = metricsIn(promql).find((one) => !known.includes(one));
  if (missing === undefined) return;
  const near = known.length > 0 ? closest(missing, [...known]) : "";
  const hint =
    near !== "" && distance(near, missing) <= NEAR_ENOUGH
      ? `did you mean ${near}?`
      : "apps' own metrics come by services.<name>.metrics or by OTLP; holdfast metrics asks for them";
  throw invalid(
    "analysis.no_metric",
    `rollout.analysis.metrics ${name}: nobody has a metric ${missing}`,
    { hint },
  );
}

/** Names of the metrics in a query: neither functions, nor labels, nor words. */
export function metricsIn(promql: string): string[] {
  const bare = promql
    .replaceAll(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`/g, '""')
    .replaceAll(/#.*$/gm, "")
    .replaceAll(/\{[^}]*\}/g, " ")
    .replaceAll(/\[[^\]]*\]/g, " ")
    .replaceAll(/\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/gi, " ")
    .replaceAll(/\boffset\s+-?[\w.]+/gi, " ")
    .replaceAll("$", "");
  const found = bare.matchAll(/(?<![\w.:])([a-zA-Z_:][a-zA-Z0-9_:]*)\b(?!\s*\()/g);
  return [...new Set([...found].map(([, name = ""]) => name))].filter(
    (name) => !WORDS.has(name.toLowerCase()),
  );
}
