// A kind of resource is a value: the store gives and takes what belongs to it, by type. All kinds are
// listed in src/resources/catalog.ts.

import type { Ref } from "./resource.ts";

/**
 * What a resource of the kind belongs to. Its name says to which: `production/shop` is of the
 * environment `production`, `production/shop/token` of the app `shop` there.
 */
export type Scope = "installation" | "environment" | "app";

export interface Kind<Spec, Status> {
  readonly name: string;
  readonly scope: Scope;
  /** Goes with its app, at once, when that is destroyed: nothing in the world hangs on it. */
  readonly goesWithApp?: true;
  /** For types only; never there. */
  readonly of?: { readonly spec: Spec; readonly status: Status };
}

export type AnyKind = Kind<unknown, unknown>;

/** Status: `never` where the kind has no reconciler. */
export const defineKind = <Spec, Status = never>(
  kind: Omit<Kind<Spec, Status>, "of">,
): Kind<Spec, Status> => kind;

export const refTo = ({ name: kind }: AnyKind, name: string): Ref => ({ kind, name });
