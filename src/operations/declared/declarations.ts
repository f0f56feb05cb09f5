// Everything that a person can set, declared in files: compared with what is there, and applied. Nothing
// is written before all of it was rehearsed, in one transaction that is taken back.

import { closest, distance } from "fastest-levenshtein";
import type { FieldChange } from "../../kernel/audit.ts";
import {
  asHoldfastError,
  HoldfastError,
  invalid,
  type Problem,
  problemOf,
} from "../../kernel/error.ts";
import { fieldChanges } from "../../kernel/field-changes.ts";
import { type AnyKind, environmentOf, refTo } from "../../kernel/kind.ts";
import { Redacted } from "../../kernel/redacted.ts";
import { canonicalJson, keyOf, type Ref } from "../../kernel/resource.ts";
import { EVERYWHERE } from "../../resources/account/account.ts";
import { ENVIRONMENT } from "../../resources/environment/environment.ts";
import { FILE_SET } from "../../resources/file-set/file-set.ts";
import type { Access, Principal } from "../access.ts";
import type { ChangeOperations, Outcome } from "../change-operations.ts";
import type { ChangeOptions } from "../change-record.ts";
import { type ChangeRequest, type ChangeRunner, NO_APP } from "../change-runner.ts";
import type { ControlOperations } from "../control-operations.ts";
import { type ControlRequest, isControl } from "../control-writes.ts";
import type { OperationDeps } from "../operation-deps.ts";
import { APP_KINDS } from "./app-kinds.ts";
import { CHANNEL_KINDS } from "./channel-kinds.ts";
import { CONTROL_KINDS } from "./control-kinds.ts";
import type { DeclaredKind, Draft, SealedRef } from "./declared-kind.ts";

/** In the order in which they are applied: each after what it may be about. */
export const DECLARED_KINDS = [
  ...CONTROL_KINDS,
  ...CHANNEL_KINDS,
  ...APP_KINDS,
] as unknown as readonly DeclaredKind[];

/** One of a file. */
export interface Declaration extends Ref {
  readonly spec: unknown;
  /** Where it stands, for messages: `infra/policy.yaml:3`. */
  readonly source?: string | undefined;
}

export interface FileSet {
  /** Whose the declarations are. */
  readonly set?: string | undefined;
  /** Remove what the set applied before, and does not declare any more. */
  readonly prune?: boolean | undefined;
}

export interface PlannedChange extends Ref {
  readonly source?: string;
  readonly does: "create" | "change" | "remove" | "nothing";
  readonly changes: readonly FieldChange[];
  /** What of it loosens control: somebody else has to approve that. */
  readonly loosens: readonly string[];
}

export interface AppliedChange extends PlannedChange {
  readonly change?: number;
  /** What it waits for. */
  readonly pending?: string;
  /** It could not be written, nor could what comes after it. */
  readonly problem?: Problem;
}

export interface Written {
  readonly outcome: Outcome;
  readonly spec: unknown;
  /** What was found in the world when it was written. */
  readonly seen: Draft;
}

interface WriteOptions extends ChangeOptions {
  readonly signal?: AbortSignal;
}

interface Parts {
  readonly access: Access;
  readonly changes: ChangeOperations;
  readonly controls: ControlOperations;
  readonly runner: ChangeRunner;
}

const LOOK_TIMEOUT_MS = 30_000;
const REFERENCE = "holdfast get, or docs/reference/resources.md, has the kinds";

export class Declarations {
  readonly #deps: OperationDeps;
  readonly #parts: Parts;

  constructor(deps: OperationDeps, parts: Parts) {
    this.#deps = deps;
    this.#parts = parts;
  }

  /** What would change. @throws where anything of it can't be */
  plan(
    given: readonly Declaration[],
    options: FileSet,
    actor: Principal,
  ): readonly PlannedChange[] {
    const all = this.#inOrder(given);
    this.#assertOwn(all, options);
    const gone = options.prune ? this.#gone(all, options.set) : [];
    return this.#deps.store.rehearse(() => [
      ...all.map((one) => at(one, () => this.#rehearse(one, actor))),
      ...gone.map((one) => at(one, () => this.#rehearseRemoval(one, actor))),
    ]);
  }

  /** One after the other; what can't be written although its rehearsal went well ends it. */
  async apply(
    given: readonly Declaration[],
    options: FileSet & ChangeOptions,
    actor: Principal,
  ): Promise<readonly AppliedChange[]> {
    const planned = this.plan(given, options, actor);
    const applied: AppliedChange[] = [];
    for (const one of planned) {
      if (one.does === "nothing") {
        applied.push(one);
        continue;
      }
      const declaration = given.find((other) => keyOf(other) === keyOf(one));
      try {
        const outcome =
          one.does === "remove" || !declaration
            ? await this.remove(one, actor, options)
            : (await this.write(declaration, actor, options)).outcome;
        const { change, pending } = outcome;
        applied.push({
          ...one,
          ...(change !== undefined && { change }),
          ...(pending !== undefined && { pending }),
        });
      } catch (error) {
        applied.push({ ...one, problem: problemOf(asHoldfastError(error)) });
        break;
      }
    }
    this.#own(given, applied, options, actor);
    return applied;
  }

  /** Writes one; returns what is kept of it, once it is written. @throws where it can't be */
  async write(
    given: Declaration,
    actor: Principal,
    { signal = AbortSignal.timeout(LOOK_TIMEOUT_MS), ...options }: WriteOptions = {},
  ): Promise<Written> {
    const { store } = this.#deps;
    const of = declaredKind(given.kind);
    // Before anything is looked at: who may not write it learns nothing by it.
    const place = environmentOf(of.kind, given.name, this.#parse(of, given));
    this.#require(of, given.name, place, actor);
    const draft = store.rehearse(() => this.#specOf(of, given, actor));
    // Of what is written both are changed: what was there, and what will be.
    for (const one of [draft.before, draft.spec])
      if (one !== undefined)
        this.#require(of, given.name, environmentOf(of.kind, given.name, one), actor);
    const seen = (await of.look?.(this.#deps, draft.spec, draft.value, signal)) ?? {};
    const { before, spec } = store.transaction(() => this.#specOf(of, given, actor));
    if (before !== undefined && canonicalJson(before) === canonicalJson(spec))
      return { outcome: { ...NO_APP, changed: false }, spec, seen };
    const request = requestOf(of, given.name, spec, before);
    return { outcome: await this.#submit(request, place, actor, options), spec, seen };
  }

  #submit(
    request: ChangeRequest | ControlRequest,
    place: string | undefined,
    actor: Principal,
    options: ChangeOptions,
  ): Outcome | Promise<Outcome> {
    return isControl(request)
      ? this.#parts.controls.submit(request, actor, options)
      : this.#parts.changes.submit(place ?? "", request, actor, options);
  }

  /** @throws resource.not_found; where it can't be removed */
  async remove(
    { kind, name }: Ref,
    actor: Principal,
    options: ChangeOptions = {},
  ): Promise<Outcome> {
    const of = declaredKind(kind);
    const before = this.#get(of, name);
    this.#require(of, name, environmentOf(of.kind, name, before), actor);
    this.#assertRemovable(of, name);
    const place = environmentOf(of.kind, name, before);
    return this.#submit(requestOf(of, name, null, before), place, actor, options);
  }

  // --- inside

  #inOrder(given: readonly Declaration[]): readonly Declaration[] {
    const seen = new Map<string, Declaration>();
    for (const one of given) {
      const other = seen.get(keyOf(one));
      if (other)
        throw invalid(
          "apply.twice",
          `${one.kind} ${one.name} is declared twice: ${sourceOf(other)} and ${sourceOf(one)}`,
          { hint: "keep one of the two" },
        );
      seen.set(keyOf(one), one);
    }
    const rank = (one: Declaration): number =>
      DECLARED_KINDS.indexOf(at(one, () => declaredKind(one.kind)));
    return given.toSorted((one, other) => rank(one) - rank(other));
  }

  #assertOwn(all: readonly Declaration[], { set, prune }: FileSet): void {
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
  #gone(all: readonly Declaration[], set = ""): readonly Ref[] {
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

  #rehearse(given: Declaration, actor: Principal): PlannedChange {
    const of = declaredKind(given.kind);
    const { before, spec } = this.#specOf(of, given, actor);
    const place = environmentOf(of.kind, given.name, spec);
    const isSame = before !== undefined && canonicalJson(before) === canonicalJson(spec);
    if (isSame) return this.#planned(given, "nothing", [], []);
    this.#require(of, given.name, place, actor);
    const shown = before === undefined ? {} : of.show(before);
    const changes = fieldChanges(shown, of.show(spec));
    const loosens = this.#run(requestOf(of, given.name, spec, before), place, actor);
    return this.#planned(given, before === undefined ? "create" : "change", changes, loosens);
  }

  #rehearseRemoval(one: Ref, actor: Principal): PlannedChange {
    const of = declaredKind(one.kind);
    const before = this.#get(of, one.name);
    const place = environmentOf(of.kind, one.name, before);
    this.#require(of, one.name, place, actor);
    this.#assertRemovable(of, one.name);
    const loosens = this.#run(requestOf(of, one.name, null, before), place, actor);
    return this.#planned(one, "remove", fieldChanges(of.show(before), {}), loosens);
  }

  #planned(
    { kind, name, ...given }: Declaration | Ref,
    does: PlannedChange["does"],
    changes: readonly FieldChange[],
    loosens: readonly string[],
  ): PlannedChange {
    const source = "source" in given ? given.source : undefined;
    return { kind, name, ...(source !== undefined && { source }), does, changes, loosens };
  }

  /** Runs it, inside the rehearsal; returns what of it loosens control. */
  #run(
    request: ChangeRequest | ControlRequest,
    place: string | undefined,
    actor: Principal,
  ): readonly string[] {
    const { controls, runner } = this.#parts;
    const loosens = isControl(request) ? controls.loosening(request).reasons : [];
    runner.run(place ?? EVERYWHERE, request, actor);
    return loosens;
  }

  /** Seals what is new, so that the spec names it: inside a transaction. */
  #specOf(
    of: DeclaredKind,
    { kind, name, spec: given }: Declaration,
    actor: Principal,
  ): {
    readonly before: unknown;
    readonly spec: unknown;
    /** What is sealed of it. */
    readonly value: Redacted | undefined;
  } {
    const deps = this.#deps;
    const data = this.#parse(of, { name, kind, spec: given });
    const before = deps.store.find(of.kind, name)?.spec;
    const { sealed, value } = this.#sealed(of, name, data, before);
    const spec = of.specOf({ deps, name, input: data, before, sealed, value, actor });
    const key = of.sealed?.key ?? "";
    const known = (spec as Readonly<Record<string, SealedRef | undefined>>)[key];
    const ofSpec =
      value ?? (known && of.sealed && deps.sealed.read(refTo(of.kind, name), key, known.version));
    return { before, spec, value: ofSpec };
  }

  /** @throws resource.bad_name, resource.invalid */
  #parse(of: DeclaredKind, { kind, name, spec: given }: Declaration): unknown {
    if (!of.names.pattern.test(name))
      throw invalid("resource.bad_name", `${kind} ${name}: a name must be ${of.names.form}`, {
        hint: "lowercase letters, digits and hyphens",
      });
    const { success, data, error } = of.input.safeParse(given ?? {});
    if (!success) {
      const mistakes = error.issues.map(
        ({ path, message }) => `${path.join(".") || "spec"}: ${message}`,
      );
      throw invalid("resource.invalid", mistakes.join("; "), { hint: REFERENCE });
    }
    return data;
  }

  #sealed(
    { kind, sealed }: DeclaredKind,
    name: string,
    input: unknown,
    before: unknown,
  ): { readonly sealed: SealedRef | undefined; readonly value: Redacted | undefined } {
    if (!sealed) return { sealed: undefined, value: undefined };
    const { key, absent } = sealed;
    const ref = refTo(kind, name);
    const given = (input as Readonly<Record<string, unknown>>)[key];
    const known = (before as Readonly<Record<string, SealedRef | undefined>> | undefined)?.[key];
    const kept = { sealed: known, value: undefined };
    if (isVersion(given)) {
      if (given.version === known?.version) return kept;
      throw invalid("sealed.other_version", `${key}: version ${given.version} is not kept`, {
        hint: known
          ? `version ${known.version} is; or give the value: { $env: VARIABLE }`
          : "give the value: { $env: VARIABLE }",
      });
    }
    if (given === undefined && absent === "kept") return kept;
    if (given === undefined && absent === "refused")
      throw invalid("sealed.absent", `${key} is missing`, {
        hint: known ? `{ version: ${known.version} } keeps it` : "for example { $env: VARIABLE }",
      });
    const text = typeof given === "string" ? given : canonicalJson(given ?? {});
    const { sealed: vault } = this.#deps;
    const isKnown = known !== undefined && vault.read(ref, key, known.version).reveal() === text;
    if (isKnown) return kept;
    const value = new Redacted(text);
    return { sealed: { version: vault.add(ref, key, value) }, value };
  }

  #require(of: DeclaredKind, name: string, place: string | undefined, actor: Principal): void {
    const { access } = this.#parts;
    const known = place !== undefined && this.#deps.store.find(ENVIRONMENT, place) !== undefined;
    const environment = known ? place : undefined;
    const mayAsk = of.changeOf !== undefined && access.decide(actor, "ask", environment).allowed;
    if (!mayAsk) access.require(actor, of.action, environment, name.split("/")[1]);
  }

  #get({ kind }: DeclaredKind, name: string): unknown {
    const found = this.#deps.store.find(kind, name);
    if (found) return found.spec;
    throw notThere(kind, name);
  }

  #assertRemovable(of: DeclaredKind, name: string): void {
    const why = of.kept?.(this.#deps, name);
    if (why === undefined) return;
    throw invalid("resource.kept", `${of.kind.name} ${name} can't be removed: ${why}`, {
      hint: "keep it in the files",
    });
  }

  // What was applied stays the set's until it is pruned.
  #own(
    given: readonly Declaration[],
    applied: readonly AppliedChange[],
    { set }: FileSet,
    actor: Principal,
  ): void {
    if (set === undefined) return;
    const { store } = this.#deps;
    const done = applied.filter(({ problem, pending }) => !problem && pending === undefined);
    const removed = new Set(done.filter(({ does }) => does === "remove").map(keyOf));
    const tried = new Set(applied.map(keyOf));
    const before = store.find(FILE_SET, set)?.spec.resources ?? [];
    const own = new Map(before.map((one) => [keyOf(one), one]));
    for (const one of given) if (tried.has(keyOf(one))) own.set(keyOf(one), one);
    const resources = [...own]
      .filter(([key]) => !removed.has(key))
      .map(([, { kind, name }]) => ({ kind, name }))
      .toSorted((one, other) => (keyOf(one) < keyOf(other) ? -1 : 1));
    store.writeSpec(FILE_SET, set, { resources }, { actor, action: "apply" });
  }
}

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

const isVersion = (value: unknown): value is SealedRef =>
  typeof value === "object" &&
  value !== null &&
  typeof (value as { version?: unknown }).version === "number";

const requestOf = (
  of: DeclaredKind,
  name: string,
  spec: unknown,
  before: unknown,
): ChangeRequest | ControlRequest =>
  of.changeOf?.(name, spec, before) ??
  of.requestOf?.(name, spec) ?? { action: "apply", kind: of.kind.name, name, spec };

const sourceOf = ({ source, kind, name }: Declaration): string => source ?? `${kind} ${name}`;

/** What is wrong is said with where it stands. */
function at<Result>(one: Declaration | Ref, work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    const source = "source" in one && one.source !== undefined ? `${one.source}: ` : "";
    const { actsNext, code, hint, fields } = error;
    const message = `${source}${one.kind} ${one.name}: ${error.message}`;
    throw new HoldfastError(actsNext, code, message, { hint, fields, cause: error });
  }
}
