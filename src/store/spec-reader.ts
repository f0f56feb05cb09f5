// Specs as they lie in the state, read by the schema of their kind. What an older build wrote is
// upgraded step by step; what can't be read is refused by name, never passed on as it is.

import { type HoldfastError, stuck } from "../kernel/error.ts";
import type { Kind, StoredSpec } from "../kernel/kind.ts";
import type { Ref } from "../kernel/resource.ts";

export interface StoredRow extends Ref {
  readonly uid: string;
  readonly spec: string;
  readonly specVersion: number;
}

/** Specs that are kept as they were read. */
const READ_MAX = 20_000;
const MISTAKES_SHOWN = 3;

export class SpecReader {
  /** uid → what was read last, and from which text: of a write that was taken back there may be another. */
  readonly #read = new Map<string, { readonly text: string; readonly spec: unknown }>();

  /** @throws state.unreadable */
  read<Spec, Status>(kind: Kind<Spec, Status>, row: StoredRow): Spec {
    const known = this.#read.get(row.uid);
    if (known?.text === row.spec) return known.spec as Spec;
    // Of writes that were taken back something stays behind.
    if (this.#read.size >= READ_MAX) this.#read.clear();
    // The same for all who ask, so it can't be changed.
    const spec = frozen(parse(kind, row));
    this.#read.set(row.uid, { text: row.spec, spec });
    return spec;
  }

  forget(uid: string): void {
    this.#read.delete(uid);
  }
}

function parse<Spec, Status>(kind: Kind<Spec, Status>, row: StoredRow): Spec {
  if (row.specVersion > kind.version)
    throw unreadable(
      row,
      `a newer build wrote it (version ${row.specVersion} of its kind, this one knows ${kind.version})`,
    );
  let stored = JSON.parse(row.spec) as StoredSpec;
  for (let version = row.specVersion; version < kind.version; version += 1) {
    const upgrade = kind.upgrades[version];
    if (!upgrade) throw unreadable(row, `nothing leads on from version ${version} of its kind`);
    stored = upgrade(stored);
  }
  const { success, data, error } = kind.spec.safeParse(stored);
  if (success) return data;
  const mistakes = error.issues.map(
    ({ path, message }) => `${path.join(".") || "the spec"}: ${message}`,
  );
  const more =
    mistakes.length > MISTAKES_SHOWN ? ` and ${mistakes.length - MISTAKES_SHOWN} more` : "";
  throw unreadable(row, `${mistakes.slice(0, MISTAKES_SHOWN).join("; ")}${more}`);
}

const unreadable = ({ kind, name }: Ref, why: string): HoldfastError =>
  stuck("state.unreadable", `${kind} ${name} can't be read by this build: ${why}`, {
    hint: "start the build that wrote it; nothing was changed",
  });

function frozen<Value>(value: Value): Value {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  for (const inner of Object.values(value)) frozen(inner);
  return Object.freeze(value);
}
