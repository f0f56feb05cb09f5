// Who is asking, and whether they may. Every request passes here; what is refused says by which rule,
// and who could allow it.

import type { Action } from "../kernel/action.ts";
import { type HoldfastError, invalid } from "../kernel/error.ts";
import type { Actor } from "../kernel/resource-store.ts";
import {
  ACCOUNT,
  type AccountSpec,
  EVERYWHERE,
  grantsOf,
  OWNER,
  ROLES,
  type Role,
  withinScope,
} from "../resources/account/account.ts";
import {
  type AccessAnswer,
  type AccessContext,
  NO_CONTEXT,
  rolesThatMay,
} from "../resources/account/permissions.ts";
import { classOf, ENVIRONMENT } from "../resources/environment/environment.ts";
import { POLICY } from "../resources/policy/policy.ts";
import { REPOSITORY } from "../resources/repository/repository.ts";
import { TOKEN, type TokenSpec } from "../resources/token/token.ts";
import type { OperationDeps } from "./operation-deps.ts";

export interface Principal extends Actor {
  readonly kind: "owner" | "person" | "service";
  /** `staging/developer` */
  readonly grants: readonly string[];
  /** Undefined for the owner. */
  readonly token?: { readonly id: string; readonly spec: TokenSpec };
}

const DAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const REMEMBERED_MS = 30 * 86_400_000;
const EVENTS_MAX = 10_000;
const NO_TOKEN_HINT =
  "set HOLDFAST_TOKEN, or run on the machine itself as the user who owns the installation";

type AccessDeps = Pick<
  OperationDeps,
  "store" | "clock" | "authorizer" | "findToken" | "unknownTokens" | "audit"
>;

/** Who has a role everywhere has it also in an environment that was made since they were asked who they are. */
const grantsIn = (grants: readonly string[], environment: string): readonly string[] => [
  ...grants,
  ...grants
    .filter((grant) => grant.startsWith(`${EVERYWHERE}/`))
    .map((grant) => `${environment}/${grant.slice(EVERYWHERE.length + 1)}`)
    .filter((grant) => !grants.includes(grant)),
];

export class Access {
  readonly #deps: AccessDeps;

  constructor(deps: AccessDeps) {
    this.#deps = deps;
  }

  /** Whoever can open the socket. */
  owner(from: string): Principal {
    return { name: OWNER, from, kind: "owner", grants: this.#all() };
  }

  /** @throws api.unauthorized */
  holderOf(token: string | undefined, from: string): Principal {
    const { store, clock } = this.#deps;
    if (token === undefined)
      throw invalid("api.unauthorized", "a bearer token is needed", { hint: NO_TOKEN_HINT });
    const id = this.#deps.findToken(token);
    // The installation's own, in a file that only its owner can read.
    if (id === "admin") return { name: "admin", from, kind: "owner", grants: this.#all() };
    const spec = id === undefined ? undefined : store.find(TOKEN, id)?.spec;
    if (!spec) {
      this.#deps.unknownTokens.tried(from);
      throw invalid("api.unauthorized", "the token is not known", { hint: NO_TOKEN_HINT });
    }
    if (spec.expiresAt <= clock.now())
      throw invalid(
        "api.unauthorized",
        `the token "${spec.label}" of ${spec.account} expired at ${new Date(spec.expiresAt).toISOString()}`,
        { hint: `an admin makes another: holdfast token create ${spec.account}` },
      );
    const account = store.find(ACCOUNT, spec.account)?.spec;
    if (!account || account.disabled)
      throw invalid(
        "api.unauthorized",
        `the account ${spec.account} is ${account ? "disabled" : "gone"}`,
        {
          hint: "an admin can change that: holdfast account list",
        },
      );
    const grants = withinScope(grantsOf(account.roles, this.#environments()), spec.scope);
    return {
      name: spec.account,
      // Every event names it.
      from: `${from} token ${id}`,
      kind: account.kind,
      grants,
      token: { id: id ?? "", spec },
    };
  }

  decide(
    principal: Principal,
    action: Action,
    environment?: string,
    app?: string,
    context: Partial<AccessContext> = {},
  ): AccessAnswer {
    const { store, clock, authorizer } = this.#deps;
    const place = environment === undefined ? undefined : store.find(ENVIRONMENT, environment);
    // One that is made is a matter of the installation.
    const cedar = place ? (store.find(POLICY, place.name)?.spec.cedar ?? "") : "";
    // The way out of a policy that forbids everybody everything.
    if (principal.kind === "owner" && (action === "policy" || action === "view"))
      return { allowed: true, rules: ["owner"] };
    const now = new Date(clock.now());
    return authorizer.decide({
      user: place ? { ...principal, grants: grantsIn(principal.grants, place.name) } : principal,
      action,
      environment: place && { name: place.name, class: classOf(place) },
      app,
      context: {
        ...NO_CONTEXT,
        hour: now.getUTCHours(),
        weekday: DAYS[now.getUTCDay()] ?? "",
        action,
        ...context,
      },
      cedar,
    });
  }

  /** By their role; policies of one's own may still forbid it, or permit what no role does. */
  holds(principal: Principal, action: Action, environment: string): boolean {
    const { authorizer } = this.#deps;
    const place = { name: environment, class: this.#classOf(environment) };
    const question = { user: principal, action, environment: place, app: undefined };
    return authorizer.decide({ ...question, context: NO_CONTEXT, cedar: "" }).allowed;
  }

  /** @throws access.forbidden, and remembers it where more than a look was wanted */
  require(
    principal: Principal,
    action: Action,
    environment?: string,
    app?: string,
    context: Partial<AccessContext> = {},
  ): void {
    const answer = this.decide(principal, action, environment, app, context);
    if (answer.allowed) return;
    const refusal = this.refusal(principal, action, environment, answer);
    if (action !== "view" && action !== "audit")
      this.remember(principal, action, environment, app, refusal.message);
    throw refusal;
  }

  /** What somebody tried and was not let do, for the audit. */
  remember(
    { name, from }: Principal,
    action: Action,
    environment: string | undefined,
    app: string | undefined,
    why: string,
  ): void {
    const place = environment === undefined ? "installation" : environment;
    this.#deps.audit.append({
      at: this.#deps.clock.now(),
      actor: name,
      source: from,
      action: "refused",
      kind: "access",
      name: app === undefined ? place : `${place}/${app}`,
      generation: 0,
      change: [
        { field: "action", to: action },
        { field: "why", to: why },
      ],
    });
  }

  refusal(
    { name, kind }: Principal,
    action: Action,
    environment: string | undefined,
    { rules, problem }: AccessAnswer,
  ): HoldfastError {
    const where = environment === undefined ? "here" : `in ${environment}`;
    const why =
      problem ??
      (rules.length > 0 ? `the policy ${rules.join(", ")} forbids it` : `no rule permits it`);
    const who = this.whoMay(action, environment).filter((one) => one !== name);
    const could =
      rules.length > 0 || problem !== undefined
        ? `whoever may change the policy: holdfast policy show${environment === undefined ? "" : ` --env ${environment}`}`
        : who.length > 0
          ? `${who.join(", ")} could`
          : `an admin can give the role: holdfast account set ${kind === "owner" ? "<account>" : name} --role ${environment ?? EVERYWHERE}/${rolesThatMay(action, this.#classOf(environment))[0]}`;
    return invalid("access.forbidden", `${name} may not ${action} ${where}: ${why}`, {
      hint: could,
    });
  }

  /** An account that is there and not disabled, or a connected repository. */
  isActive(name: string): boolean {
    const { store } = this.#deps;
    const [kind, repository] = name.split(":");
    if (kind === "repository" && repository !== undefined)
      return store.find(REPOSITORY, repository) !== undefined;
    return store.find(ACCOUNT, name)?.spec.disabled === false;
  }

  /** Accounts that hold a role for it; a policy may still forbid it. */
  whoMay(action: Action, environment: string | undefined): readonly string[] {
    const { store } = this.#deps;
    const roles = rolesThatMay(action, this.#classOf(environment));
    const wanted = roles.map((role) => `${environment ?? EVERYWHERE}/${role}`);
    return store
      .list(ACCOUNT)
      .filter(({ spec }) => !spec.disabled)
      .filter(({ spec }) =>
        grantsOf(spec.roles, this.#environments()).some((grant) => wanted.includes(grant)),
      )
      .map(({ name }) => name);
  }

  /** Those who hold a role for it, or did in the last 30 days, disabled ones too. */
  everApprovers(environment: string): readonly string[] {
    const { store, audit, clock } = this.#deps;
    const may = rolesThatMay("approve", this.#classOf(environment));
    const holds = (roles: AccountSpec["roles"] | undefined): boolean =>
      [environment, EVERYWHERE].some((place) =>
        (roles?.[place] ?? []).some((role) => may.includes(role)),
      );
    const now = store
      .list(ACCOUNT)
      .filter(({ spec }) => spec.kind === "person" && holds(spec.roles))
      .map(({ name }) => name);
    const before = audit
      .search({ kind: ACCOUNT.name, from: clock.now() - REMEMBERED_MS, limit: EVENTS_MAX })
      .filter(({ change }) =>
        change.some(({ field, from, to }) =>
          [from, to].some(
            (value) =>
              (field === "(all)" && holds((value as AccountSpec | undefined)?.roles)) ||
              (field === `roles.${environment}` && holds({ [environment]: value as Role[] })) ||
              (field === `roles.${EVERYWHERE}` && holds({ [EVERYWHERE]: value as Role[] })),
          ),
        ),
      )
      .map(({ name }) => name);
    return [...new Set([...now, ...before])];
  }

  #classOf(environment: string | undefined) {
    const found =
      environment === undefined ? undefined : this.#deps.store.find(ENVIRONMENT, environment);
    return found ? classOf(found) : "production";
  }

  #environments(): string[] {
    return this.#deps.store.list(ENVIRONMENT).map(({ name }) => name);
  }

  #all(): readonly string[] {
    return grantsOf({ [EVERYWHERE]: ROLES }, this.#environments());
  }
}
