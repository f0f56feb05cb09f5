// What users got and was then taken from them must not come back by itself: a pipeline that tries once
// more, a webhook that is delivered late. Such source is held until somebody lets it go, or until a
// release of it, that a person deployed, gets all traffic.

import type { HoldSpec } from "../hold/hold.ts";
import type { AppStatusFields, HeldSource } from "./app.ts";
import type { AppObserved } from "./app-observed.ts";

export const HELD_MAX = 20;

/** Nothing is held where what takes its place is of the same source: then it was the configuration. */
export function hold(
  status: AppStatusFields,
  release: number,
  insteadOf: number | undefined,
  why: string,
  observed: AppObserved,
): AppStatusFields {
  const source = sourceOf(release, observed);
  if (!source || source.digest === sourceOf(insteadOf, observed)?.digest) return status;
  const { digest, commit } = source;
  const one: HeldSource = {
    digest,
    ...(commit !== undefined && { commit }),
    release,
    at: observed.now,
    why,
  };
  const others = (status.held ?? []).filter((held) => !isOf(held, source));
  return { ...status, held: [one, ...others].slice(0, HELD_MAX) };
}

/** It has all traffic again, because somebody said so. */
export function letGo(
  status: AppStatusFields,
  release: number,
  observed: AppObserved,
): AppStatusFields {
  const source = sourceOf(release, observed);
  const { held, ...rest } = status;
  const left = (held ?? []).filter((one) => !source || !isOf(one, source));
  return left.length > 0 ? { ...rest, held: left } : rest;
}

/** Those that nobody let go since. */
export const stillHeld = (
  held: readonly HeldSource[] | undefined,
  spec: HoldSpec | undefined,
): readonly HeldSource[] =>
  (held ?? []).filter(
    ({ digest, at }) => !spec?.released.some((one) => one.digest === digest && one.at >= at),
  );

type Source = Pick<HeldSource, "digest"> & { readonly commit?: string | undefined };

export const isOf = (held: HeldSource, { digest, commit }: Source): boolean =>
  held.digest === digest || (commit !== undefined && held.commit === commit);

const sourceOf = (release: number | undefined, { releases }: AppObserved) =>
  release === undefined ? undefined : releases.get(release)?.spec.source;
