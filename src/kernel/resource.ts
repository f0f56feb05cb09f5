// A resource is one thing the platform keeps true. People write its spec (through the API only);
// the reconciler of its kind writes its status, and nobody else does.

export interface Ref {
  readonly kind: string;
  /** Unique within the kind; a path of names, outermost first: `production/storefront`. */
  readonly name: string;
}

export interface Resource<Spec, Status> {
  readonly kind: string;
  readonly name: string;
  /** Never used again, also not for a later resource of the same name. What we create carries it. */
  readonly uid: string;
  /** +1 on each write that changes the spec. */
  readonly generation: number;
  readonly spec: Spec;
  readonly status: Status | undefined;
  readonly deleting: boolean;
  readonly createdAt: number;
  readonly updatedAt: number;
}

export type AnyResource = Resource<unknown, unknown>;

export const keyOf = (ref: Ref): string => `${ref.kind}:${ref.name}`;

/** JSON with sorted keys: equal values give equal text, which is what hashes and diffs need. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => {
    if (inner === null || typeof inner !== "object" || Array.isArray(inner)) return inner;
    return Object.fromEntries(
      Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)),
    );
  });
}
