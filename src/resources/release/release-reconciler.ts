import type { Clock } from "../../kernel/clock.ts";
import type { Reconciler } from "../../kernel/reconciler.ts";
import { RELEASE, type Release, type ReleaseSpec, type ReleaseStatus } from "./release.ts";
import type { ArtifactBuilder, BuildRequest } from "./release-driver.ts";
import {
  planRelease,
  type ReleaseObserved,
  type ReleaseStep,
  reportRelease,
} from "./release-plan.ts";

export interface ReleaseDeps {
  readonly clock: Clock;
  readonly builder: ArtifactBuilder;
  /** Called when a build ends, so that nobody waits for the next look. */
  readonly hint: (releaseName: string) => void;
}

export function createReleaseReconciler(
  deps: ReleaseDeps,
): Reconciler<ReleaseSpec, ReleaseStatus, ReleaseObserved, ReleaseStep> {
  return {
    kind: RELEASE,
    observe: async (release) => ({
      now: deps.clock.now(),
      build: await deps.builder.observe(buildRequestOf(release)),
    }),
    report: reportRelease,
    plan: planRelease,
    apply: (release) => deps.builder.start(buildRequestOf(release), () => deps.hint(release.name)),
    isGone: () => true,
  };
}

export function buildRequestOf(release: Release): BuildRequest {
  const { environment, app, number, manifest, source, promotedFrom } = release.spec;
  return {
    environment,
    app,
    number,
    manifest,
    sourceDigest: source.digest,
    ...(promotedFrom && { artifact: promotedFrom.artifact }),
  };
}
