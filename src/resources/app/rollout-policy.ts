// How an app wants its next release brought to its users: the key `rollout` of holdfast.yaml. The
// rules between its keys are here too; what an environment allows is its policy's business.

import { z } from "zod";
import type { SpecOf } from "../../kernel/kind.ts";
import { duration, share } from "./quantity.ts";

export const STRATEGIES = ["blue-green", "canary", "rolling", "recreate"] as const;
export type Strategy = (typeof STRATEGIES)[number];

/** Of 1,000. */
export const WHOLE = 1_000;
const STEPS_MAX = 20;
const CHECK_PATH = /^\/[\w\-.~!$&()*+,;=:@%/?]*$/;
const METRIC_NAME = /^[a-z][a-z0-9-]{0,39}$/;

const step = z.preprocess(
  (value) => (typeof value === "string" ? { share: value } : value),
  z.strictObject({
    share: share("Share of requests that get the new release."),
    for: duration("Time that this share is watched.", "1s").prefault("1m"),
  }),
);

const smoke = z
  .strictObject({
    path: z
      .string()
      .regex(CHECK_PATH, "must be a path that starts with /, with what a URL allows")
      .max(300)
      .optional()
      .describe("Asked at the new release through the edge, as a user would."),
    service: z
      .string()
      .optional()
      .describe("Whose first route's host is asked. Default: the path's."),
    status: z
      .string()
      .regex(/^[1-5]\d\d(-[1-5]\d\d)?$/, "must be a status such as 200 or a range such as 200-299")
      .default("200-299")
      .describe("Status that is expected, or a range."),
    contains: z.string().min(1).max(1_000).optional().describe("Text that the answer must hold."),
    command: z
      .string()
      .trim()
      .min(1, "must not be empty")
      .optional()
      .describe(
        "Run in the new release; its exit status must be 0. HOLDFAST_URL and HOLDFAST_CANDIDATE_KEY lead it to the new release.",
      ),
    timeout: duration("Time it has to come true.", "1s").prefault("30s"),
  })
  .describe("What must hold of the new release before any user gets it: a path or a command.");

const metric = z
  .strictObject({
    name: z.string().regex(METRIC_NAME, "must be lowercase letters, digits and hyphens"),
    promql: z
      .string()
      .min(1)
      .max(4_000)
      .optional()
      .describe(
        "PromQL with one value; $environment, $app and $release stand for what is looked at.",
      ),
    sql: z
      .string()
      .min(1)
      .max(4_000)
      .optional()
      .describe(
        "SQL over the telemetry tables, one row: `value`, or `bad` and `total`, which are compared by the sequential test. $environment, $app, $release and $since may stand in it.",
      ),
    max: z.number().optional().describe("The new release's value must not be above this."),
    min: z.number().optional().describe("The new release's value must not be below this."),
    relative: z
      .number()
      .positive()
      .optional()
      .describe("The new release's value must not be above so many times that of what serves."),
  })
  .describe("A figure of the app's own. It fails after three looks in a row beyond a limit.");

const analysis = z
  .strictObject({
    errors: z
      .strictObject({
        absolute: z
          .number()
          .min(0)
          .max(100)
          .default(0.25)
          .describe("Percentage points of errors above what serves that are let pass."),
        relative: z
          .number()
          .min(1)
          .default(1.5)
          .describe("Times the errors of what serves that are let pass."),
      })
      .prefault({})
      .describe(
        "Beyond both of its limits the new release is worse; so are requests that log an error.",
      ),
    answers: z
      .strictObject({
        absolute: z
          .number()
          .min(0)
          .max(100)
          .default(1)
          .describe("Percentage points of odd answers above what serves that are let pass."),
        relative: z
          .number()
          .min(1)
          .default(1.5)
          .describe("Times the odd answers of what serves that are let pass."),
      })
      .prefault({})
      .describe(
        "Odd are redirects, refusals (4xx), and answers far smaller than usual; for far larger ones a person is asked.",
      ),
    latency: z
      .strictObject({
        absolute: duration("Slower than what serves by so much is let pass.").prefault("10ms"),
        relative: z
          .number()
          .min(1)
          .default(1.2)
          .describe("Times the latency of what serves that are let pass."),
      })
      .prefault({})
      .describe(
        "Slow is what takes longer than a quantile of what serves (p50 to p99.9), moved by both limits.",
      ),
    minRequests: z
      .number()
      .int()
      .min(1)
      .max(1_000_000)
      .default(50)
      .describe("Fewer requests to the new release in a step say nothing."),
    warmUp: duration("Latency of fresh instances is not judged for so long.").prefault("30s"),
    inconclusive: z
      .enum(["wait", "extend", "ask"])
      .default("extend")
      .describe(
        "Too little to judge by when a step's time is over: wait for more, give it as much time again and then go on, or ask a person.",
      ),
    metrics: z.array(metric).max(20).default([]),
  })
  .describe("How the new release is compared with what serves, over the same minutes.");

export const rolloutSchema = z
  .strictObject({
    strategy: z
      .enum(STRATEGIES)
      .default("blue-green")
      .describe(
        "blue-green: all at once, beside what serves. canary: share by share, judged at each. rolling: instance by instance. recreate: what serves ends first.",
      ),
    steps: z
      .array(step)
      .min(1)
      .max(STEPS_MAX)
      .optional()
      .describe(
        "canary: shares in rising order, such as [5%, { share: 50%, for: 5m }]. Default: 10%, 50%.",
      ),
    sticky: z
      .boolean()
      .default(false)
      .describe("A client stays where its first request went, by cookie."),
    testers: z
      .strictObject({
        key: z
          .string()
          .regex(/^[\w-]{8,64}$/, "must be 8 to 64 letters, digits, hyphens and underscores")
          .optional()
          .describe(
            "A request with it in x-holdfast-candidate gets the new release. Default: a new one for each rollout.",
          ),
        addresses: z
          .array(
            z.union([z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()], {
              error: "must be an address or a network such as 10.0.0.0/8",
            }),
          )
          .max(64)
          .default([])
          .describe("Networks that get the new release before anybody else."),
      })
      .prefault({})
      .describe("Who gets the new release whatever the share."),
    preview: z
      .union([z.literal("ask"), duration("Time before the switch.", "1s")])
      .optional()
      .describe(
        "blue-green: the new release is shown at preview.<host> before the switch, for so long or until a person says so (ask).",
      ),
    batch: z
      .number()
      .int()
      .min(1)
      .max(64)
      .default(1)
      .describe("rolling: instances replaced at once."),
    surge: z
      .number()
      .int()
      .min(0)
      .max(64)
      .default(1)
      .describe("rolling: instances above the wanted number."),
    minAvailable: z
      .number()
      .int()
      .min(0)
      .max(64)
      .optional()
      .describe("rolling: instances that are always ready. Default: all of them."),
    smoke: z
      .array(smoke)
      .max(20)
      .default([])
      .describe("Checks before any user gets the new release."),
    analysis: analysis.prefault({}),
    watch: duration(
      "Time after the last step in which a crash loop or a burning error budget rolls back by itself.",
    ).prefault("5m"),
    timeout: duration(
      "Longest time from its beginning until all requests go to it; then it is aborted.",
      "1m",
    ).prefault("1d"),
  })
  .describe("How a new release comes to its users.");

export type RolloutPolicy = SpecOf<typeof rolloutSchema>;
export type RolloutStep = NonNullable<RolloutPolicy["steps"]>[number];
export type SmokeCheck = RolloutPolicy["smoke"][number];
export type AnalysisPolicy = RolloutPolicy["analysis"];
export type AppMetric = AnalysisPolicy["metrics"][number];

const DEFAULT_STEPS: readonly RolloutStep[] = [
  { share: 100, for: 60_000 },
  { share: 500, for: 60_000 },
];

export const defaultRollout: RolloutPolicy = rolloutSchema.parse({});

export const stepsOf = ({ strategy, steps }: RolloutPolicy): readonly RolloutStep[] =>
  strategy === "canary" ? (steps ?? DEFAULT_STEPS) : [];

interface Sizes {
  readonly services: Readonly<Record<string, { readonly instances: number }>>;
  readonly workers: Readonly<Record<string, { readonly instances: number }>>;
}

/** What a schema can't say: rules between keys, by the path inside `rollout`. */
export function checkRollout(
  policy: RolloutPolicy,
  { services, workers }: Sizes,
): { path: (string | number)[]; message: string }[] {
  const { strategy, steps = [], smoke, analysis } = policy;
  const mistakes: { path: (string | number)[]; message: string }[] = [];
  const only = (key: "steps" | "preview", its: Strategy): void => {
    if (policy[key] !== undefined && strategy !== its)
      mistakes.push({ path: [key], message: `is for ${its}; the strategy here is ${strategy}` });
  };
  only("steps", "canary");
  only("preview", "blue-green");
  for (const [index, { share }] of steps.entries()) {
    const before = steps[index - 1]?.share ?? -1;
    if (share <= before)
      mistakes.push({
        path: ["steps", index],
        message: `does not rise: ${share / 10}% after ${before / 10}%`,
      });
    if (share >= WHOLE)
      mistakes.push({
        path: ["steps", index],
        message: "must be below 100%: all of it comes after the last step, by itself",
      });
  }
  if (strategy === "rolling") mistakes.push(...checkRolling(policy, { services, workers }));
  for (const [index, { path, command }] of smoke.entries())
    if ((path === undefined) === (command === undefined))
      mistakes.push({ path: ["smoke", index], message: "needs a path or a command, one of them" });
  for (const [index, one] of analysis.metrics.entries())
    mistakes.push(
      ...checkMetric(one).map((message) => ({ path: ["analysis", "metrics", index], message })),
    );
  if (strategy === "canary" && Object.keys(services).length === 0)
    mistakes.push({
      path: ["strategy"],
      message: "a canary needs a service whose requests it can be judged by",
    });
  return mistakes;
}

function checkRolling({ surge, minAvailable }: RolloutPolicy, { services, workers }: Sizes) {
  const counts = [...Object.values(services), ...Object.values(workers)].map(
    ({ instances }) => instances,
  );
  const smallest = Math.min(...counts.filter((count) => count > 0));
  if (surge > 0 || (minAvailable !== undefined && minAvailable < smallest)) return [];
  return [
    {
      path: ["surge"],
      message:
        "is 0 and every instance must stay ready: nothing could ever be replaced; give surge or a minAvailable below the smallest number of instances",
    },
  ];
}

function checkMetric({ promql, sql, max, min, relative }: AppMetric): string[] {
  const mistakes: string[] = [];
  if ((promql === undefined) === (sql === undefined))
    mistakes.push("needs promql or sql, one of them");
  if (max === undefined && min === undefined && relative === undefined)
    mistakes.push("needs a limit: max, min or relative");
  return mistakes;
}
