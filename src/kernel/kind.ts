// A kind of resource is a value: the store gives and takes what belongs to it, by type. All kinds are
// listed in src/resources/catalog.ts.

import { z } from "zod";
import type { Ref } from "./resource.ts";

/**
 * What a resource of the kind belongs to. Its name says to which: `production/shop` is of the
 * environment `production`, `production/shop/token` of the app `shop` there.
 */
export type Scope = "installation" | "environment" | "app";

export interface Kind<Spec, Status> {
  readonly name: string;
  /** What one is, in a sentence. */
  readonly summary: string;
  readonly scope: Scope;
  /** As it is kept: it is parsed with each write and each read. */
  readonly spec: z.ZodType<Spec>;
  /** Of `spec`, from 1: raised with each change that a spec which was kept before may not stand. */
  readonly version: number;
  /** Version → what makes the next version of a spec that was kept in it. */
  readonly upgrades: Readonly<Record<number, (spec: StoredSpec) => StoredSpec>>;
  /** The environment that one is about, where its name does not begin with it. */
  environmentOf?(name: string, spec: Spec): string | undefined;
  /** Kinds that look again when one of these was written: hints, so that nobody waits. */
  readonly wakes?: readonly Wake[];
  /** Goes with its app, at once, when that is destroyed: nothing in the world hangs on it. */
  readonly goesWithApp?: true;
  /** For types only; never there. */
  readonly of?: { readonly spec: Spec; readonly status: Status };
}

export interface Wake {
  readonly kind: string;
  /** Only when this was written. */
  readonly on?: "spec" | "status" | "forgotten";
  /** Which one looks; without it, all. */
  readonly name?: (name: string) => string;
}

export type AnyKind = Kind<unknown, unknown>;

/** A spec as it lies in the state, before it is parsed. */
export type StoredSpec = Readonly<Record<string, unknown>>;

/** What a schema gives, for reading only: specs are shared between all who read them. */
export type SpecOf<Schema extends z.ZodType> = Frozen<z.output<Schema>>;

type Frozen<Value> = Value extends readonly (infer Item)[]
  ? readonly Frozen<Item>[]
  : Value extends object
    ? { readonly [Key in keyof Value]: Frozen<Value[Key]> }
    : Value;

/** Status: `never` where the kind has no reconciler. */
export const defineKind = <Spec, Status = never>(
  kind: Omit<Kind<Spec, Status>, "of" | "version" | "upgrades"> &
    Partial<Pick<Kind<Spec, Status>, "version" | "upgrades">>,
): Kind<Spec, Status> => ({ version: 1, upgrades: {}, ...kind });

/** The environment that a resource belongs to; undefined: to the installation. */
export function environmentOf<Spec, Status>(
  kind: Kind<Spec, Status>,
  name: string,
  spec: Spec,
): string | undefined {
  if (kind.environmentOf) return kind.environmentOf(name, spec);
  return kind.scope === "installation" ? undefined : name.split("/")[0];
}

export const refTo = ({ name: kind }: AnyKind, name: string): Ref => ({ kind, name });

/** A value that is sealed in the vault, as a spec names it. */
export const sealed = <Name extends string>(name: Name) =>
  z.strictObject({ secret: z.literal(name), version: z.number().int() });
