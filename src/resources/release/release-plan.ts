// Deciding about a release: build it once, then nothing ever again.

import { type AnyStep, blocked, changeOr, converged, type Plan, wait } from "../../kernel/plan.ts";
import type { Release, ReleaseStatus } from "./release.ts";
import type { BuildState } from "./release-driver.ts";

export interface ReleaseObserved {
  readonly now: number;
  readonly build: BuildState;
  /** Its app is still on the way to it. */
  readonly isWanted: boolean;
}

export interface ReleaseStep extends AnyStep {
  readonly do: "build-artifact" | "cancel-build";
}

const BUILDING_RECHECK_MS = 1_000;
const AT_REST_MS = 24 * 3_600_000;

export function reportRelease(
  release: Release,
  { now, build, isWanted }: ReleaseObserved,
): ReleaseStatus {
  const before = release.status;
  if (before?.phase === "ready" || before?.phase === "failed") return before;
  const startedAt = before?.startedAt ?? now;
  const { result, ahead = 0 } = build;
  const builtInMs = now - startedAt;
  if (!result && !isWanted) {
    const reason = "the build was cancelled: nothing waits for this release any more";
    return {
      phase: "failed",
      failure: { reason, hint: "holdfast deploy", log: [] },
      startedAt,
      builtInMs,
    };
  }
  if (!result) return { phase: "building", startedAt, ...(ahead > 0 && { ahead }) };
  if (result.outcome === "built") {
    return { phase: "ready", artifact: result.artifact, startedAt, builtInMs };
  }
  const { reason, hint, log } = result;
  return { phase: "failed", failure: { reason, hint, log }, startedAt, builtInMs };
}

export function planRelease(release: Release, { build }: ReleaseObserved): Plan<ReleaseStep> {
  const status = release.status;
  const isRunning = build.ahead !== undefined;
  if (status?.phase === "ready") return converged(AT_REST_MS);
  if (status?.phase === "failed") {
    const { reason = "the build failed", hint = "" } = status.failure ?? {};
    const rest = blocked(reason, hint, AT_REST_MS);
    const isToEnd = isRunning && !build.result && build.isEnding !== true;
    return changeOr(isToEnd ? [{ do: "cancel-build", why: reason }] : [], rest);
  }
  if (isRunning) return wait(waitingFor(build.ahead ?? 0), BUILDING_RECHECK_MS);
  const why = `release ${release.spec.number} needs an artifact`;
  return changeOr([{ do: "build-artifact", why }], wait("building", BUILDING_RECHECK_MS));
}

/** What a build is doing, by how many come before it. */
export const waitingFor = (ahead: number): string =>
  ahead === 0
    ? "the artifact is being built"
    : `the build waits for ${ahead === 1 ? "another one" : `${ahead} others`}`;
