// What of a service's requests is counted as bad, one kind by one, and what of it is let pass.

import type { ArmCounts, OddAnswer } from "../../../kernel/signal.ts";
import type { AnalysisPolicy } from "../rollout-policy.ts";
import type { Margin, Tally } from "./sequential-test.ts";

export type Limits = Pick<AnalysisPolicy, "errors" | "answers" | "latency">;

export interface Measure {
  readonly name: string;
  /** `3 % of 200 requests …` */
  readonly says: string;
  readonly of: "requests" | "answers";
  readonly limits: "errors" | "answers";
  /** Undefined where it was not counted. */
  readonly tally: (arm: ArmCounts) => Tally | undefined;
  /** May be meant: a person is asked, nothing is taken back for it. */
  readonly onlyAsks?: boolean;
}

const odd =
  (what: OddAnswer) =>
  ({ odd: counted }: ArmCounts): Tally | undefined =>
    counted?.[what];

export const MEASURES: readonly Measure[] = [
  {
    name: "errors",
    says: "failed",
    of: "requests",
    limits: "errors",
    tally: ({ requests, errors }) => ({ total: requests, bad: errors }),
  },
  {
    name: "log errors",
    says: "logged an error",
    of: "requests",
    limits: "errors",
    tally: ({ requests, logErrors }) => ({ total: requests, bad: Math.min(requests, logErrors) }),
  },
  {
    name: "refusals",
    says: "were refused (4xx)",
    of: "requests",
    limits: "answers",
    tally: odd("refusals"),
  },
  {
    name: "redirects",
    says: "were redirected",
    of: "requests",
    limits: "answers",
    tally: odd("redirects"),
  },
  {
    name: "small",
    says: "were far smaller than usual",
    of: "answers",
    limits: "errors",
    tally: odd("small"),
  },
  {
    name: "large",
    says: "were far larger than usual",
    of: "answers",
    limits: "answers",
    tally: odd("large"),
    onlyAsks: true,
  },
];

/** Of one route the bad ones are those that failed or were refused; they have to be far more. */
export const ROUTE_LIMITS = { absolute: 5, relative: 2 } as const;
/** Routes of a service that are tested each by itself: those that were seen first. */
export const ROUTES_MAX = 20;

/** Beyond both limits, or not worse. */
export const marginsOf = ({ absolute, relative }: AnalysisPolicy["errors"]): readonly Margin[] => [
  { plus: absolute / 100 },
  { times: relative },
];

/** What is usual of the sizes of answers: half of the smallest, and twice the largest but one in twenty. */
export const unusualSizes = ([low, high]: readonly [number, number]): [number, number] => [
  Math.floor(low / 2),
  Math.ceil(high * 2),
];
