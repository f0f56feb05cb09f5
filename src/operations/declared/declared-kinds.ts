// Every kind that a person can declare.

import { closest, distance } from "fastest-levenshtein";
import { type HoldfastError, invalid } from "../../kernel/error.ts";
import type { AnyKind } from "../../kernel/kind.ts";
import { APP_KINDS } from "./app-kinds.ts";
import { CHANNEL_KINDS } from "./channel-kinds.ts";
import { CONTROL_KINDS } from "./control-kinds.ts";
import type { DeclaredKind } from "./declared-kind.ts";

/** In the order in which they are applied: each after what it may be about. */
export const DECLARED_KINDS = [
  ...CONTROL_KINDS,
  ...CHANNEL_KINDS,
  ...APP_KINDS,
] as unknown as readonly DeclaredKind[];

export const notThere = ({ name: kind }: AnyKind, name: string): HoldfastError =>
  invalid("resource.not_found", `there is no ${kind} ${name}`, { hint: `holdfast get ${kind}` });

/** @throws kind.unknown, with the nearest that is */
export function declaredKind(name: string): DeclaredKind {
  const found = DECLARED_KINDS.find(({ kind }) => kind.name === name);
  if (found) return found;
  const names = DECLARED_KINDS.map(({ kind }) => kind.name);
  const near = closest(name, names);
  throw invalid("kind.unknown", `there is no kind ${name} that can be declared`, {
    hint:
      distance(name, near) <= Math.max(2, name.length / 3)
        ? `did you mean ${near}?`
        : `there is: ${names.join(", ")}`,
  });
}
