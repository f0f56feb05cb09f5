// What is shown of both releases: counts, rates with their intervals, latencies.

import type { ArmCounts } from "../../../kernel/signal.ts";
import { type Interval, proportionInterval, quantileLevels } from "./interval.ts";

export const SHOWN_LEVELS = { p50: 0.5, p95: 0.95, p99: 0.99 } as const;

export interface ArmSummary {
  readonly requests: number;
  readonly errors: number;
  readonly errorRate: Interval;
  readonly logErrors: number;
  readonly timed: number;
  readonly latency: Readonly<
    Record<keyof typeof SHOWN_LEVELS, Interval & { readonly ms: number }>
  > | null;
}

export function summaryOf(arm: ArmCounts | undefined): ArmSummary {
  const { requests = 0, errors = 0, logErrors = 0, timed = 0, quantiles = [] } = arm ?? {};
  const at = (level: number): Interval & { ms: number } => {
    const { low, high } = quantileLevels(level, timed);
    return {
      ms: quantileOf(quantiles, level),
      low: quantileOf(quantiles, low, Math.floor),
      high: quantileOf(quantiles, high, Math.ceil),
    };
  };
  return {
    requests,
    errors,
    errorRate: proportionInterval(errors, requests),
    logErrors,
    timed,
    latency:
      quantiles.length === 0
        ? null
        : { p50: at(SHOWN_LEVELS.p50), p95: at(SHOWN_LEVELS.p95), p99: at(SHOWN_LEVELS.p99) },
  };
}

export const quantileOf = (
  quantiles: readonly number[],
  level: number,
  toIndex: (position: number) => number = Math.round,
): number => quantiles[toIndex(level * (quantiles.length - 1))] ?? 0;
