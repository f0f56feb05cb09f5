// Deciding about a release: build it once, then nothing ever again.

import { type AnyStep, blocked, changeOr, converged, type Plan, wait } from "../../kernel/plan.ts";
import type { Release, ReleaseStatus } from "./release.ts";
import type { BuildState } from "./release-driver.ts";

export interface ReleaseObserved {
  readonly now: number;
  readonly build: BuildState;
}

export interface ReleaseStep extends AnyStep {
  readonly do: "build-artifact";
}

const BUILDING_RECHECK_MS = 1_000;
const AT_REST_MS = 24 * 3_600_000;

export function reportRelease(release: Release, { now, build }: ReleaseObserved): ReleaseStatus {
  const before = release.status;
  if (before?.phase === "ready" || before?.phase === "failed") return before;
  const startedAt = before?.startedAt ?? now;
  const { result } = build;
  if (!result) return { phase: "building", startedAt };
  const builtInMs = now - startedAt;
  if (result.outcome === "built") {
    return { phase: "ready", artifact: result.artifact, startedAt, builtInMs };
  }
  const { reason, hint, log } = result;
  return { phase: "failed", failure: { reason, hint, log }, startedAt, builtInMs };
}

export function planRelease(release: Release, { build }: ReleaseObserved): Plan<ReleaseStep> {
  const status = release.status;
  if (status?.phase === "ready") return converged(AT_REST_MS);
  if (status?.phase === "failed") {
    const { reason = "the build failed", hint = "" } = status.failure ?? {};
    return blocked(reason, hint, AT_REST_MS);
  }
  if (build.isRunning) return wait("the artifact is being built", BUILDING_RECHECK_MS);
  const why = `release ${release.spec.number} needs an artifact`;
  return changeOr([{ do: "build-artifact", why }], wait("building", BUILDING_RECHECK_MS));
}
