// Writes that decide what may be changed and by whom: policies, classes of environments, windows and
// freezes, accounts. Here they are written; which of them loosen control is said here too.

import { parseDocument } from "yaml";
import { isControlAction } from "../kernel/action.ts";
import { invalid } from "../kernel/error.ts";
import { type AnyKind, environmentOf } from "../kernel/kind.ts";
import { canonicalJson } from "../kernel/resource.ts";
import type { Actor } from "../kernel/resource-store.ts";
import { DEFAULT_POLICY, PLATFORM, SIGNALS, type TelemetryPolicy } from "../kernel/signal.ts";
import { ACCOUNT, type AccountSpec, EVERYWHERE, type Role } from "../resources/account/account.ts";
import { APP, appResourceName } from "../resources/app/app.ts";
import { kindNamed } from "../resources/catalog.ts";
import { ENVIRONMENT_ENGINES } from "../resources/engine/engine.ts";
import {
  classOf,
  ENVIRONMENT,
  type EnvironmentClass,
  type EnvironmentSpec,
  guessClass,
} from "../resources/environment/environment.ts";
import { CLASS_RULES, effectiveRules } from "../resources/environment/environment-rules.ts";
import { loosenedRules } from "../resources/environment/loosening.ts";
import { EMPTY_POLICY, POLICY, type PolicySpec, policySpec } from "../resources/policy/policy.ts";
import { TASK, type TaskSpec } from "../resources/task/task.ts";
import { TELEMETRY } from "../resources/telemetry/telemetry.ts";
import { WINDOW, type WindowSpec } from "../resources/window/window.ts";
import { removeAccount } from "./accounts.ts";
import { findEnvironment } from "./environment-view.ts";
import type { OperationDeps } from "./operation-deps.ts";

export interface EnvironmentChange {
  readonly compute?: EnvironmentSpec["compute"] | undefined;
  readonly class?: EnvironmentClass | undefined;
  readonly hosts?: string | undefined;
  readonly isNew: boolean;
}

export type ControlRequest =
  | {
      readonly action: "policy";
      readonly environment: string;
      readonly text: string;
      readonly version?: number | undefined;
    }
  | {
      readonly action: "environment";
      readonly environment: string;
      readonly change: EnvironmentChange;
    }
  /** `production/weekend`; null removes it. */
  | { readonly action: "freeze"; readonly window: string; readonly spec: WindowSpec | null }
  /** null removes it, with its tokens. */
  | { readonly action: "account"; readonly account: string; readonly spec: AccountSpec | null }
  /** A resource of any other kind that is declared; null removes it. */
  | {
      readonly action: "apply";
      readonly kind: string;
      readonly name: string;
      readonly spec: unknown;
    }
  /** A command that is run once: it may do whatever the app may. */
  | {
      readonly action: "run";
      readonly environment: string;
      readonly app: string;
      readonly command: string;
      readonly takesInput: boolean;
      /** The task that it becomes. */
      readonly task: string;
    };

export const isControl = (request: { readonly action: string }): request is ControlRequest =>
  isControlAction(request.action);

/** What it takes away from control, and of which protected environments. */
export interface Loosening {
  readonly environments: readonly string[];
  readonly reasons: readonly string[];
}

/** Roles that change nothing. */
const ONLY_LOOKS: readonly Role[] = ["viewer", "auditor"];

type ControlDeps = Pick<OperationDeps, "store" | "authorizer" | "tokens" | "sealed">;

export class ControlWrites {
  readonly #deps: ControlDeps;

  constructor(deps: ControlDeps) {
    this.#deps = deps;
  }

  run(request: ControlRequest, actor: Actor): void {
    const { store } = this.#deps;
    store.transaction(() => {
      switch (request.action) {
        case "policy":
          return this.#writePolicy(request, actor);
        case "environment":
          return this.#writeEnvironment(request.environment, request.change, actor);
        case "freeze":
          return this.#writeWindow(request.window, request.spec, actor);
        case "account":
          return this.#writeAccount(request.account, request.spec, actor);
        case "apply":
          return this.#apply(request, actor);
        case "run":
          return this.#beginTask(request, actor);
      }
    });
  }

  /** As it is now, for whoever approves: of another it says nothing. */
  contentOf(request: ControlRequest): string {
    const { store } = this.#deps;
    const specOf = (kind: AnyKind, name: string): unknown => store.find(kind, name)?.spec;
    const before = {
      policy: () =>
        "environment" in request && [
          specOf(POLICY, request.environment),
          specOf(ENVIRONMENT, request.environment),
        ],
      environment: () =>
        "environment" in request && [
          specOf(POLICY, request.environment),
          specOf(ENVIRONMENT, request.environment),
        ],
      freeze: () => "window" in request && specOf(WINDOW, request.window),
      account: () => "account" in request && specOf(ACCOUNT, request.account),
      apply: () => "kind" in request && this.#stateOf(request),
      run: () => null,
    }[request.action]();
    return canonicalJson([request, before ?? null]);
  }

  // With which one it is: of another by the same name an approval says nothing.
  #stateOf({ kind, name }: { readonly kind: string; readonly name: string }): unknown {
    const found = this.#deps.store.find(kindNamed(kind), name);
    return found && [found.uid, found.spec];
  }

  /** What is there of the resource that is to be applied. */
  before(request: ControlRequest): unknown {
    return request.action === "apply"
      ? this.#deps.store.find(kindNamed(request.kind), request.name)?.spec
      : undefined;
  }

  loosening(request: ControlRequest): Loosening {
    switch (request.action) {
      case "policy":
        return this.#ofPolicy(request.environment, this.parsePolicy(request.text));
      case "environment":
        return this.#ofClass(request.environment, request.change.class);
      case "freeze":
        return this.#ofWindow(request.window, request.spec);
      case "account":
        return this.#ofAccount(request.account, request.spec);
      case "apply":
        return this.#ofResource(request);
      case "run": {
        const { environment, app, command } = request;
        const { rules } = findEnvironment(this.#deps.store, environment);
        return rules.protected
          ? { environments: [environment], reasons: [`runs in ${app}: ${command}`] }
          : NOTHING;
      }
    }
  }

  /** @throws policy.invalid */
  parsePolicy(text: string): PolicySpec {
    const document = parseDocument(text, { prettyErrors: true });
    const [problem] = document.errors;
    const hint = "holdfast policy show prints one to begin with; docs/reference/policy.md";
    if (problem) throw invalid("policy.invalid", problem.message.trim(), { hint });
    const parsed = policySpec.safeParse(document.toJS() ?? {});
    if (!parsed.success) {
      const mistakes = parsed.error.issues.map(
        ({ path, message }) => `${path.join(".") || "the file"}: ${message}`,
      );
      throw invalid("policy.invalid", mistakes.join("; "), { hint });
    }
    const spec = parsed.data;
    this.#deps.authorizer.check(spec.cedar);
    return spec;
  }

  // --- what loosens

  #ofPolicy(environment: string, after: PolicySpec): Loosening {
    const { rules, class: of } = findEnvironment(this.#deps.store, environment);
    if (!rules.protected) return NOTHING;
    const before = this.#policyOf(environment);
    const isOther = before.cedar.trim() !== after.cedar.trim();
    return {
      environments: [environment],
      reasons: [
        ...loosenedRules(rules, effectiveRules(of, after)),
        // Whether one lets through more than another can't be told.
        ...(isOther && before.cedar.trim() !== "" ? ["its Cedar policies change"] : []),
        ...(isOther && /\bpermit\b/.test(after.cedar) ? ["its Cedar policies permit more"] : []),
      ],
    };
  }

  #ofClass(environment: string, to: EnvironmentClass | undefined): Loosening {
    const { store } = this.#deps;
    if (to === undefined || !store.find(ENVIRONMENT, environment)) return NOTHING;
    const { rules, class: from } = findEnvironment(store, environment);
    if (!rules.protected || from === to) return NOTHING;
    const reasons = loosenedRules(rules, effectiveRules(to, this.#policyOf(environment)));
    // What a role may do depends on the class, also where a policy keeps every rule.
    const isTighter = to === "production" && reasons.length === 0;
    return {
      environments: [environment],
      reasons: isTighter ? [] : [`class: ${from} → ${to}`, ...reasons],
    };
  }

  // A new freeze, or the first window, only adds to what is not allowed; a window beside another one
  // adds time. Of one that is there, it depends on its times.
  #ofWindow(window: string, after: WindowSpec | null): Loosening {
    const { store } = this.#deps;
    const before = store.find(WINDOW, window)?.spec;
    const [place = ""] = window.split("/");
    const environments = this.#protectedIn(place);
    if (environments.length === 0) return NOTHING;
    if (!before) {
      const isBeside = store.list(WINDOW).some(({ name, spec }) => {
        const [other = ""] = name.split("/");
        const meets = other === place || other === EVERYWHERE || place === EVERYWHERE;
        return spec.kind === "window" && meets;
      });
      const addsTime = after?.kind === "window" && isBeside;
      return {
        environments,
        reasons: addsTime ? [`window ${window}: adds time to change in`] : [],
      };
    }
    if (after === null) return { environments, reasons: [`${before.kind} ${window}: removed`] };
    const isSame = canonicalJson(before) === canonicalJson(after);
    return { environments, reasons: isSame ? [] : [`${before.kind} ${window}: changed`] };
  }

  // What belongs to a protected environment is changed by a change, whatever its kind.
  #ofResource({ kind: of, name, spec }: Extract<ControlRequest, { action: "apply" }>): Loosening {
    const { store } = this.#deps;
    const kind = kindNamed(of);
    const before = store.find(kind, name)?.spec;
    if (canonicalJson(before ?? null) === canonicalJson(spec)) return NOTHING;
    const places = [before, spec ?? undefined].flatMap((one) =>
      one === undefined ? [] : [environmentOf(kind, name, one) ?? ""],
    );
    const environments = [...new Set(places)].filter(
      (place) =>
        store.find(ENVIRONMENT, place) !== undefined &&
        findEnvironment(store, place).rules.protected,
    );
    if (environments.length === 0) return NOTHING;
    const what = spec === null ? "removed" : before === undefined ? "added" : "changed";
    return { environments, reasons: [`${of} ${name}: ${what}`] };
  }

  #ofAccount(account: string, after: AccountSpec | null): Loosening {
    if (after === null) return NOTHING;
    const before = this.#deps.store.find(ACCOUNT, account)?.spec;
    const grants = (spec: AccountSpec | undefined): Map<string, Set<Role>> => {
      const own = new Map<string, Set<Role>>();
      if (!spec || spec.disabled) return own;
      for (const [place, roles] of Object.entries(spec.roles))
        for (const environment of this.#protectedIn(place))
          own.set(environment, new Set([...(own.get(environment) ?? []), ...roles]));
      return own;
    };
    // Only a person approves: as the other kind, an account's roles are others.
    const isOtherKind = before !== undefined && before.kind !== after.kind;
    const known = isOtherKind ? new Map<string, Set<Role>>() : grants(before);
    const held = isOtherKind && after.kind === "service" ? [...grants(before).keys()] : [];
    const added = [...grants(after)].flatMap(([environment, roles]) =>
      [...roles]
        .filter((role) => !ONLY_LOOKS.includes(role) && !known.get(environment)?.has(role))
        .map((role) => ({ environment, role })),
    );
    return {
      environments: [...new Set([...added.map(({ environment }) => environment), ...held])],
      reasons: [
        ...(held.length > 0 ? [`${account} is no person any more`] : []),
        ...added.map(({ environment, role }) => `${account} becomes ${environment}/${role}`),
      ],
    };
  }

  #protectedIn(place: string): string[] {
    const { store } = this.#deps;
    return store
      .list(ENVIRONMENT)
      .map(({ name }) => name)
      .filter((name) => place === EVERYWHERE || name === place)
      .filter((name) => findEnvironment(store, name).rules.protected);
  }

  #policyOf(name: string): PolicySpec {
    return this.#deps.store.find(POLICY, name)?.spec ?? EMPTY_POLICY;
  }

  // --- what is written

  #writePolicy(
    { environment, text, version }: Extract<ControlRequest, { action: "policy" }>,
    actor: Actor,
  ): void {
    const { store } = this.#deps;
    const spec = this.parsePolicy(text);
    store.writeSpec(POLICY, environment, spec, {
      actor,
      action: "policy",
      ...(version !== undefined && { expectedGeneration: version }),
    });
    const { rules } = findEnvironment(store, environment);
    clampTelemetry(this.#deps, environment, rules.telemetryDays, actor);
  }

  #writeEnvironment(name: string, change: EnvironmentChange, actor: Actor): void {
    const { store } = this.#deps;
    // What belongs to no environment is kept under this name: lines, engines, metrics.
    if (name === PLATFORM)
      throw invalid("environment.reserved", `no environment can be called ${PLATFORM}`, {
        hint: "the installation itself has that name; choose another",
      });
    const options = { actor, action: "environment" };
    const before = store.find(ENVIRONMENT, name);
    if (before && change.isNew)
      throw invalid("environment.exists", `there is an environment ${name} already`, {
        hint: `holdfast env show ${name}`,
      });
    const of = change.class ?? (before ? classOf(before) : guessClass(name));
    const hosts = change.hosts ?? before?.spec.hosts;
    const spec: EnvironmentSpec = {
      compute: change.compute ?? before?.spec.compute ?? "process",
      class: of,
      ...(hosts !== undefined && { hosts }),
    };
    store.writeSpec(ENVIRONMENT, name, spec, options);
    if (!before && of !== "production")
      store.writeSpec(TELEMETRY, name, keptFor(CLASS_RULES[of].telemetryDays), options);
    for (const [kind, engine] of ENVIRONMENT_ENGINES)
      store.writeSpec(kind, name, { engine }, options);
  }

  #beginTask(
    { environment, app, command, takesInput, task }: Extract<ControlRequest, { action: "run" }>,
    actor: Actor,
  ): void {
    const { store } = this.#deps;
    const appName = appResourceName(environment, app);
    const found = store.find(APP, appName);
    const release = found?.status?.serving?.set.release;
    if (release === undefined)
      throw invalid("app.not_deployed", `${app} serves no release yet`, {
        hint: "holdfast status",
      });
    const spec: TaskSpec = { appName, release, command, ...(takesInput && { takesInput }) };
    store.writeSpec(TASK, `${appName}/${task}`, spec, {
      actor,
      action: "run",
      expectedGeneration: 0,
    });
  }

  #writeAccount(name: string, spec: AccountSpec | null, actor: Actor): void {
    if (spec === null) removeAccount(this.#deps, name, actor);
    else this.#deps.store.writeSpec(ACCOUNT, name, spec, { actor, action: "account" });
  }

  #apply(
    { kind: of, name, spec }: Extract<ControlRequest, { action: "apply" }>,
    actor: Actor,
  ): void {
    const { store, sealed } = this.#deps;
    const kind = kindNamed(of);
    if (spec !== null) {
      store.writeSpec(kind, name, spec, { actor, action: of });
      // The rule may be another since it was asked for.
      if (of === TELEMETRY.name)
        clampTelemetry(this.#deps, name, findEnvironment(store, name).rules.telemetryDays, actor);
      return;
    }
    const found = store.find(kind, name);
    // Somebody else was quicker.
    if (!found) return;
    store.markDeleting(found, { actor, action: `${of}-remove` });
    store.forget(found, found.uid);
    sealed.removeAll(found);
  }

  #writeWindow(name: string, spec: WindowSpec | null, actor: Actor): void {
    const { store } = this.#deps;
    if (spec !== null) {
      store.writeSpec(WINDOW, name, spec, { actor, action: spec.kind });
      return;
    }
    const found = store.find(WINDOW, name);
    if (!found)
      throw invalid("window.not_found", `there is no ${name}`, { hint: "holdfast window list" });
    store.markDeleting(found, { actor, action: `${found.spec.kind}-remove` });
    store.forget(found, found.uid);
  }
}

const NOTHING: Loosening = { environments: [], reasons: [] };

function clampTelemetry(
  { store }: Pick<OperationDeps, "store">,
  name: string,
  days: number,
  actor: Actor,
): void {
  const before = store.find(TELEMETRY, name)?.spec;
  const retention = Object.entries((before ?? DEFAULT_POLICY).retention);
  if (retention.every(([, kept]) => kept.days <= days)) return;
  const clamped = retention.map(([signal, kept]) => [
    signal,
    { ...kept, days: Math.min(days, kept.days) },
  ]);
  store.writeSpec(
    TELEMETRY,
    name,
    {
      ...(before ?? DEFAULT_POLICY),
      retention: Object.fromEntries(clamped) as TelemetryPolicy["retention"],
    },
    { actor, action: "policy" },
  );
}

function keptFor(days: number): TelemetryPolicy {
  const retention = SIGNALS.map((signal) => [
    signal,
    {
      ...DEFAULT_POLICY.retention[signal],
      days: Math.min(days, DEFAULT_POLICY.retention[signal].days),
    },
  ]);
  return {
    ...DEFAULT_POLICY,
    retention: Object.fromEntries(retention) as TelemetryPolicy["retention"],
  };
}
