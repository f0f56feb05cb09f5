// Which resources a set of files owns: only those are pruned, and each belongs to one set.

import { invalid } from "../../kernel/error.ts";
import { keyOf, type Ref } from "../../kernel/resource.ts";
import { FILE_SET } from "../../resources/file-set/file-set.ts";
import type { Principal } from "../access.ts";
import type { OperationDeps } from "../operation-deps.ts";
import { type AppliedChange, type Declaration, type FileSet, sourceOf } from "./declaration.ts";
import { DECLARED_KINDS } from "./declared-kinds.ts";

export class FileSets {
  readonly #deps: Pick<OperationDeps, "store">;

  constructor(deps: Pick<OperationDeps, "store">) {
    this.#deps = deps;
  }

  /** @throws apply.no_set, apply.empty, apply.owned */
  assertOwn(all: readonly Declaration[], { set, prune }: FileSet): void {
    if (prune && set === undefined)
      throw invalid("apply.no_set", "to prune, the files need a name to be known by", {
        hint: "--set <name>; what is applied under it can be pruned later",
      });
    if (prune && all.length === 0)
      throw invalid("apply.empty", "nothing is declared: all that was applied would be removed", {
        hint: "is it the right folder? one by one: holdfast remove <kind> <name>",
      });
    if (set === undefined) return;
    for (const other of this.#deps.store.list(FILE_SET)) {
      if (other.name === set) continue;
      const owned = new Set(other.spec.resources.map(keyOf));
      const taken = all.find((one) => owned.has(keyOf(one)));
      if (taken)
        throw invalid(
          "apply.owned",
          `${sourceOf(taken)}: ${taken.kind} ${taken.name} belongs to the files ${other.name}`,
          { hint: `take it out of one of the two, or apply with --set ${other.name}` },
        );
    }
  }

  /** What the set owns that is there, and not declared any more; the last of its kinds first. */
  gone(all: readonly Declaration[], set = ""): readonly Ref[] {
    const { store } = this.#deps;
    const declared = new Set(all.map(keyOf));
    const owned = store.find(FILE_SET, set)?.spec.resources ?? [];
    return owned
      .filter((one) => !declared.has(keyOf(one)))
      .filter(({ kind, name }) => {
        const of = DECLARED_KINDS.find((known) => known.kind.name === kind);
        return of !== undefined && store.find(of.kind, name) !== undefined;
      })
      .toSorted(
        (one, other) =>
          DECLARED_KINDS.findIndex(({ kind }) => kind.name === other.kind) -
          DECLARED_KINDS.findIndex(({ kind }) => kind.name === one.kind),
      );
  }

  // What was applied stays the set's until it is pruned.
  own(
    given: readonly Declaration[],
    applied: readonly AppliedChange[],
    { set }: FileSet,
    actor: Principal,
  ): void {
    if (set === undefined) return;
    const { store } = this.#deps;
    const done = applied.filter(({ problem, pending }) => !problem && pending === undefined);
    const removed = new Set(done.filter(({ does }) => does === "remove").map(keyOf));
    const written = new Set(applied.filter(({ problem }) => !problem).map(keyOf));
    const before = store.find(FILE_SET, set)?.spec.resources ?? [];
    const own = new Map(before.map((one) => [keyOf(one), one]));
    for (const one of given) if (written.has(keyOf(one))) own.set(keyOf(one), one);
    if (own.size === 0) return;
    const resources = [...own]
      .filter(([key]) => !removed.has(key))
      .map(([, { kind, name }]) => ({ kind, name }))
      .toSorted((one, other) => (keyOf(one) < keyOf(other) ? -1 : 1));
    store.writeSpec(FILE_SET, set, { resources }, { actor, action: "apply" });
  }
}
