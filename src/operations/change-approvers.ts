// Who may approve a change, and whose approval counts.

import { invalid } from "../kernel/error.ts";
import { EVERYWHERE } from "../resources/account/account.ts";
import { type ChangeSpec, validApprovals } from "../resources/change/change.ts";
import type { Standing } from "../resources/change/change-plan.ts";
import { ENVIRONMENT } from "../resources/environment/environment.ts";
import { CLASS_RULES } from "../resources/environment/environment-rules.ts";
import type { Access, Principal } from "./access.ts";
import { tiedAccounts } from "./approver-ties.ts";
import type { ChangeOptions } from "./change-record.ts";
import { findEnvironment } from "./environment-view.ts";
import type { OperationDeps } from "./operation-deps.ts";

/** Of what concerns several environments at once. */
export const STRICT = { rules: CLASS_RULES.production };
export const placeOf = (environment: string): string | undefined =>
  environment === EVERYWHERE ? undefined : environment;

const NOBODY: ReadonlySet<string> = new Set();

type Asked = Pick<ChangeSpec, "environment" | "askedBy"> & {
  readonly askedThrough?: string | undefined;
};

/** Who made the token of whoever asks, and so may ask in their name; not the owner, who is root. */
export function tokenMakerOf({ token }: Principal): string | undefined {
  const maker = token?.spec.madeBy;
  return maker === "owner" || maker === "admin" ? undefined : maker;
}

export class ChangeApprovers {
  readonly #deps: OperationDeps;
  readonly #access: Access;

  constructor(deps: OperationDeps, access: Access) {
    this.#deps = deps;
    this.#access = access;
  }

  /** Who could approve it. */
  of({
    environment,
    askedBy,
    askedThrough,
    authors,
  }: Asked & Pick<ChangeOptions, "authors">): string[] {
    const tied = this.tiedTo({ environment, askedBy, askedThrough });
    return this.#access
      .whoMay("approve", placeOf(environment))
      .filter((one) => one !== askedBy && !authors?.includes(one) && !tied.has(one));
  }

  /** Who may approve, whoever made them, but who asked. */
  allBut({ environment, askedBy }: Pick<ChangeSpec, "environment" | "askedBy">): string[] {
    return this.#access.whoMay("approve", placeOf(environment)).filter((one) => one !== askedBy);
  }

  /** The owner of the installation, where somebody else asked. */
  isOwnerBeside({ askedBy }: ChangeSpec, { kind }: Principal): boolean {
    return kind === "owner" && askedBy !== "owner" && askedBy !== "admin";
  }

  /**
   * Whose approval does not count: one of the two owes what they may do to the other, or made the token
   * that it was asked with.
   */
  tiedTo({ environment, askedBy, askedThrough }: Asked): ReadonlySet<string> {
    const { store } = this.#deps;
    const isThere = store.find(ENVIRONMENT, environment) !== undefined;
    const { rules } = isThere ? findEnvironment(store, environment) : STRICT;
    const tied = tiedAccounts(this.#deps, askedBy, rules.approverTieHours);
    return askedThrough === undefined ? tied : new Set([...tied, askedThrough]);
  }

  /**
   * Also those who are disabled or gone lately: nobody gets rid of approvals by that. And authors, whom
   * the asker names: who may not approve it is somebody else all the same.
   */
  areOthers(environment: string, askedBy: string): boolean {
    return this.#access.everApprovers(environment).some((one) => one !== askedBy);
  }

  standing(spec: ChangeSpec): Standing {
    const { environment, askedBy, needs } = spec;
    const isOwner = (name: string): boolean => name === "owner" || name === "admin";
    const may = this.#access.whoMay("approve", placeOf(environment));
    const given = validApprovals(spec);
    // The audit is read only if there is an approval to check.
    const tied = given.length === 0 || spec.executed ? NOBODY : this.tiedTo(spec);
    const approvals = given.filter(({ by }) => isOwner(by) || (may.includes(by) && !tied.has(by)));
    const place = this.#deps.store.find(ENVIRONMENT, environment);
    const rules = place ? findEnvironment(this.#deps.store, environment).rules : undefined;
    const problem =
      isOwner(askedBy) || this.#access.isActive(askedBy)
        ? undefined
        : `${askedBy}, who asked for it, is disabled or gone`;
    return {
      approvals: approvals.length,
      needs: needs === 0 ? 0 : Math.max(needs, rules?.approvals ?? 0),
      ...(problem !== undefined && { problem }),
    };
  }

  /** @throws access.forbidden */
  require({ environment, app }: ChangeSpec, actor: Principal): void {
    this.#access.require(actor, "approve", placeOf(environment), app === "" ? undefined : app);
  }

  /**
   * A token that somebody else made, and may have kept, does not speak for the person whose it is.
   *
   * @throws change.person_wanted, token.not_accepted
   */
  assertDecides({ name, kind, token }: Principal): void {
    if (kind === "service")
      throw invalid("change.person_wanted", `${name} is a service account: a person decides`, {
        hint: "holdfast account set <person> --role <environment>/approver",
      });
    const { madeBy } = token?.spec ?? {};
    if (madeBy === undefined) return;
    throw invalid(
      "token.not_accepted",
      `this token of ${name} was made by ${madeBy}, and decides nothing until ${name} has accepted it`,
      { hint: "holdfast token accept makes another in its place, which only you know" },
    );
  }
}
