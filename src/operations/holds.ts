// Source that was taken back: whether it may come again, and letting it go.

import { invalid } from "../kernel/error.ts";
import { APP, type HeldSource } from "../resources/app/app.ts";
import { HELD_MAX, isOf, stillHeld } from "../resources/app/held-source.ts";
import { HOLD } from "../resources/hold/hold.ts";
import type { Principal } from "./access.ts";
import type { OperationDeps } from "./operation-deps.ts";

export interface HoldView extends HeldSource {
  readonly environment: string;
  readonly app: string;
}

export type HoldDeps = Pick<OperationDeps, "store" | "clock">;

/** What of an app is held, for who asks of promotions. */
export const isHeldIn = (
  { store }: Pick<OperationDeps, "store">,
  name: string,
  source: { readonly digest: string; readonly commit?: string | undefined },
): boolean => heldOf(store, name).some((one) => isOf(one, source));

/** @throws deploy.held where this source was taken back there, and nobody let it go */
export function assertNotHeld(
  { store }: Pick<OperationDeps, "store">,
  name: string,
  source: { readonly digest: string; readonly commit?: string | undefined },
  since = 0,
): void {
  const held = heldOf(store, name).find((one) => one.at >= since && isOf(one, source));
  if (!held) return;
  const [environment = "", app = ""] = name.split("/");
  throw invalid(
    "deploy.held",
    `${sourceText(held)} is held in ${environment}: release ${held.release} of ${app} had it, and ${held.why}`,
    {
      hint: `deploy a fix, or release the hold: holdfast hold release ${app} --env ${environment}`,
    },
  );
}

export const heldOf = (store: OperationDeps["store"], name: string): readonly HeldSource[] =>
  stillHeld(store.find(APP, name)?.status?.held, store.find(HOLD, name)?.spec);

export const sourceText = ({ commit, digest }: Pick<HeldSource, "commit" | "digest">): string =>
  commit === undefined ? `the source ${digest.slice(0, 12)}` : `commit ${commit.slice(0, 12)}`;

/** @throws hold.not_found, hold.person_forbidden */
export function releaseHold(
  { store, clock }: HoldDeps,
  name: string,
  commit: string | undefined,
  actor: Principal,
) {
  const [environment = "", app = ""] = name.split("/");
  if (actor.kind === "service")
    throw invalid("hold.person_forbidden", "service accounts cannot release a hold", {
      hint: "a person does: holdfast hold release",
    });
  const held = heldOf(store, name);
  const meant = held.filter(
    (one) =>
      commit === undefined || one.commit?.startsWith(commit) || one.digest.startsWith(commit),
  );
  if (meant.length === 0)
    throw invalid(
      "hold.not_found",
      commit === undefined || held.length === 0
        ? `nothing of ${app} is held in ${environment}`
        : `nothing that begins with ${commit} is held of ${app} in ${environment}`,
      { hint: `holdfast hold list --env ${environment}` },
    );
  const at = clock.now();
  const before = store.find(HOLD, name)?.spec.released ?? [];
  const gone = new Set(meant.map(({ digest }) => digest));
  const released = [
    ...meant.map(({ digest }) => ({ digest, at })),
    ...before.filter(({ digest }) => !gone.has(digest)),
  ].slice(0, HELD_MAX);
  store.writeSpec(HOLD, name, { released }, { actor, action: "release-hold" });
  return {
    environment,
    app,
    released: meant.map((one): HoldView => ({ environment, app, ...one })),
  };
}
