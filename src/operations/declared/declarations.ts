// Everything that a person can set, declared in files: compared with what is there, and applied. Nothing
// is written before all of it was rehearsed, in one transaction that is taken back.

import type { FieldChange } from "../../kernel/audit.ts";
import { asHoldfastError, HoldfastError, invalid, problemOf } from "../../kernel/error.ts";
import { fieldChanges } from "../../kernel/field-changes.ts";
import { environmentOf, refTo } from "../../kernel/kind.ts";
import { Redacted } from "../../kernel/redacted.ts";
import { canonicalJson, keyOf, type Ref } from "../../kernel/resource.ts";
import type { SealedValues } from "../../kernel/sealed-values.ts";
import { EVERYWHERE } from "../../resources/account/account.ts";
import { ENVIRONMENT } from "../../resources/environment/environment.ts";
import type { Access, Principal } from "../access.ts";
import type { ChangeOperations, Outcome } from "../change-operations.ts";
import type { ChangeOptions } from "../change-record.ts";
import { type ChangeRequest, type ChangeRunner, NO_APP } from "../change-runner.ts";
import type { ControlOperations } from "../control-operations.ts";
import { type ControlRequest, isControl } from "../control-writes.ts";
import type { OperationDeps } from "../operation-deps.ts";
import {
  type AppliedChange,
  type Declaration,
  type FileSet,
  type PlannedChange,
  sourceOf,
} from "./declaration.ts";
import type { DeclaredKind, Draft, SealedRef } from "./declared-kind.ts";
import { DECLARED_KINDS, declaredKind, notThere } from "./declared-kinds.ts";
import { FileSets } from "./file-sets.ts";

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

const NOTHING_REFUSED = (): void => undefined;
const LOOK_TIMEOUT_MS = 30_000;
const REFERENCE = "holdfast get, or docs/reference/resources.md, has the kinds";

export class Declarations {
  readonly #deps: OperationDeps;
  readonly #parts: Parts;
  readonly #sets: FileSets;
  /** Notes what was refused last, in the audit. */
  #noteRefusal: () => void = NOTHING_REFUSED;

  constructor(deps: OperationDeps, parts: Parts) {
    this.#deps = deps;
    this.#parts = parts;
    this.#sets = new FileSets(deps);
  }

  /** What would change. @throws where anything of it can't be */
  plan(
    given: readonly Declaration[],
    options: FileSet,
    actor: Principal,
  ): readonly PlannedChange[] {
    const all = this.#inOrder(given);
    this.#sets.assertOwn(all, options);
    const gone = options.prune ? this.#sets.gone(all, options.set) : [];
    return this.#rehearsing(() => [
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
    this.#sets.own(given, applied, options, actor);
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
    const draft = this.#rehearsing(() => this.#specOf(of, given, actor));
    const seen = (await of.look?.(this.#deps, draft.spec, draft.value, signal)) ?? {};
    // What is there may be another since it was looked at, and somebody else's.
    const { before, spec } = store.transaction(() => this.#specOf(of, given, actor));
    if (before !== undefined && canonicalJson(before) === canonicalJson(spec))
      return { outcome: { ...NO_APP, changed: false }, spec, seen };
    const place = environmentOf(of.kind, given.name, spec);
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
    this.#rehearsing(() => this.#require(of, name, environmentOf(of.kind, name, before), actor));
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

  #rehearse(given: Declaration, actor: Principal): PlannedChange {
    const of = declaredKind(given.kind);
    const { before, spec } = this.#specOf(of, given, actor);
    const place = environmentOf(of.kind, given.name, spec);
    const isSame = before !== undefined && canonicalJson(before) === canonicalJson(spec);
    if (isSame) return this.#planned(given, "nothing", [], []);
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
    // Of what is there and of what it becomes, before anything of it is looked at: who may not write it
    // learns nothing by trying.
    for (const one of before === undefined ? [data] : [before, data])
      this.#require(of, name, environmentOf(of.kind, name, one), actor);
    const { sealed, value } = this.#sealed(of, name, data, before);
    const spec = of.specOf({ deps, name, input: data, before, sealed, value, actor });
    const key = of.sealed?.key ?? "";
    const known = (spec as Readonly<Record<string, SealedRef | undefined>>)[key];
    const ofSpec =
      value ?? (known && of.sealed && deps.sealed.read(refTo(of.kind, name), key, known.version));
    return { before, spec, value: ofSpec };
  }

  /** @throws resource.bad_name, resource.invalid */
  #parse(of: DeclaredKind, { name, spec: given }: Declaration): unknown {
    if (!of.names.pattern.test(name))
      throw invalid("resource.bad_name", `a name must be ${of.names.form}`, {
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
    const value = new Redacted(text);
    if (known !== undefined && valueIn(vault, ref, key, known.version) === text)
      return { sealed: known, value };
    return { sealed: { version: vault.add(ref, key, value) }, value };
  }

  /** What is refused in a rehearsal is remembered after it: nothing else of it stays. */
  #rehearsing<Result>(work: () => Result): Result {
    this.#noteRefusal = NOTHING_REFUSED;
    try {
      return this.#deps.store.rehearse(work);
    } catch (error) {
      this.#noteRefusal();
      throw error;
    }
  }

  #require(of: DeclaredKind, name: string, place: string | undefined, actor: Principal): void {
    const { access } = this.#parts;
    const known = place !== undefined && this.#deps.store.find(ENVIRONMENT, place) !== undefined;
    const environment = known ? place : undefined;
    // Of an app only where it is one's own: a window that is named like one is not.
    const app = of.changeOf ? name.split("/")[1] : undefined;
    const answer = access.decide(actor, of.action, environment, app);
    if (answer.allowed) return;
    if (of.changeOf && access.decide(actor, "ask", environment, app).allowed) return;
    const refusal = access.refusal(actor, of.action, environment, answer);
    this.#noteRefusal = () => access.remember(actor, of.action, environment, app, refusal.message);
    throw refusal;
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
}

/** Undefined: it is gone, and can be given again. */
function valueIn(vault: SealedValues, ref: Ref, key: string, version: number): string | undefined {
  try {
    return vault.read(ref, key, version).reveal();
  } catch (error) {
    if (asHoldfastError(error).code !== "sealed.missing") throw error;
    return undefined;
  }
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
