// What users may expect of a service, and what is counted against it. A service that users reach has
// objectives whether it says so or not.

import { LATENCY_BOUNDS_MS } from "../../kernel/signal.ts";
import { defaultObjectives, type Manifest } from "./manifest.ts";

export interface Objective {
  readonly environment: string;
  readonly app: string;
  readonly service: string;
  readonly kind: "availability" | "latency";
  /** Share of good requests, 0 to 1. */
  readonly target: number;
  /** Latency: an answer is good within this many seconds. */
  readonly underSeconds?: number;
}

/** The window over which an objective holds, and its error budget lasts. */
export const OBJECTIVE_DAYS = 30;
const LATENCY_MAX_MS = Math.max(...LATENCY_BOUNDS_MS);

export function objectivesOf(environment: string, app: string, manifest: Manifest): Objective[] {
  return Object.entries(manifest.services).flatMap(([service, { routes, objectives }]) => {
    if (routes.length === 0 && objectives === undefined) return [];
    const whose = { environment, app, service };
    const { availability, latency } = objectives ?? defaultObjectives;
    // Answers are counted by bounds: the next that is not under it.
    const under = LATENCY_BOUNDS_MS.find((bound) => bound >= latency.under) ?? LATENCY_MAX_MS;
    return [
      { ...whose, kind: "availability" as const, target: shareOf(availability) },
      {
        ...whose,
        kind: "latency" as const,
        target: shareOf(latency.target),
        underSeconds: under / 1000,
      },
    ];
  });
}

const shareOf = (percent: number): number => Number((percent / 100).toFixed(8));
