import type { Clock } from "../../kernel/clock.ts";
import type { Reconciler } from "../../kernel/reconciler.ts";
import type { ResourceStore } from "../../kernel/resource-store.ts";
import { APP } from "../app/app.ts";
import {
  RELEASE,
  type Release,
  type ReleaseSpec,
  type ReleaseStatus,
  releaseName,
} from "./release.ts";
import type { ArtifactBuilder, BuildRequest } from "./release-driver.ts";
import {
  planRelease,
  type ReleaseObserved,
  type ReleaseStep,
  reportRelease,
} from "./release-plan.ts";

export interface ReleaseDeps {
  readonly clock: Clock;
  readonly store: ResourceStore;
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
      isWanted: isWanted(release, deps.store),
    }),
    report: reportRelease,
    plan: planRelease,
    apply: (release, step) =>
      step.do === "cancel-build"
        ? deps.builder.cancel(buildRequestOf(release))
        : deps.builder.start(buildRequestOf(release), () => deps.hint(release.name)),
    isGone: () => true,
  };
}

// By its app: it is on its way to this release, or to one of the same source, whose build this is too.
function isWanted(release: Release, store: ResourceStore): boolean {
  const app = store.find(APP, release.spec.app);
  if (!app || app.deleting) return false;
  const isSettled = app.generation <= (app.status?.settledGeneration ?? 0);
  const targets = [
    ...(isSettled ? [] : [app.spec.release]),
    ...(app.status?.rollout ? [app.status.rollout.placement.set.release] : []),
  ];
  return targets.some((number) => {
    if (number === release.spec.number) return true;
    const name = releaseName(app.name, number);
    const target = store.find(RELEASE, name);
    return target?.spec.source.digest === release.spec.source.digest;
  });
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
