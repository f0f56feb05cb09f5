// Where a rollback without a number goes.

import type { App, InstanceView } from "./app.ts";

const UNWELL: ReadonlySet<InstanceView["state"]> = new Set(["crashed", "crash-loop", "unhealthy"]);

/**
 * After a failed deploy: what still serves, if it serves well. Otherwise the newest release that
 * served before it and was not taken back since: by hand, by itself, or by a train. Undefined where
 * there is none.
 *
 * @param isHeld  whether what a release was made of was taken back, and nobody let it go
 */
export function rollbackTarget(
  app: App,
  isHeld: (release: number) => boolean = () => false,
): number | undefined {
  const { spec, status } = app;
  const serving = status?.serving?.set.release;
  const isWell = status?.instances.every(
    ({ release, state }) => release !== serving || !UNWELL.has(state),
  );
  if (serving !== undefined && serving !== spec.release && isWell) return serving;
  const earlier = servedOf(app)
    .filter((release) => release < (serving ?? Number.POSITIVE_INFINITY))
    .filter((release) => !wasTakenBack(app, release) && !isHeld(release));
  return earlier.length > 0 ? Math.max(...earlier) : undefined;
}

/** Releases that served, as far back as is remembered. */
export const servedOf = ({ status }: App): readonly number[] => [
  ...new Set(
    (status?.history ?? [])
      .filter(({ outcome }) => outcome === "succeeded" || outcome === "rolled-back")
      .map(({ placement }) => placement.set.release),
  ),
];

/** The last time that it served it did not make way for something newer. */
export function wasTakenBack({ status }: App, release: number): boolean {
  const served = (status?.history ?? []).filter(
    ({ outcome }) => outcome === "succeeded" || outcome === "rolled-back",
  );
  const last = served.findIndex(({ placement }) => placement.set.release === release);
  if (last < 0) return false;
  if (served[last]?.outcome === "rolled-back") return true;
  const next = served[last - 1];
  return next !== undefined && next.reason === "rollback" && next.placement.set.release < release;
}
