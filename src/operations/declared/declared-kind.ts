// What a person can declare of a kind, in a file or by a command: how it is written, what is kept of it,
// and how one that is there would be written.

import { z } from "zod";
import type { Action } from "../../kernel/action.ts";
import type { Kind } from "../../kernel/kind.ts";
import type { Redacted } from "../../kernel/redacted.ts";
import type { Principal } from "../access.ts";
import type { ChangeRequest } from "../change-runner.ts";
import type { ControlRequest } from "../control-writes.ts";
import type { OperationDeps } from "../operation-deps.ts";

/** As a file has it. */
export type Draft = Readonly<Record<string, unknown>>;

/** What is kept of a sealed value. */
export interface SealedRef {
  readonly version: number;
}

export interface Given<Input, Spec> {
  readonly deps: OperationDeps;
  readonly name: string;
  readonly input: Input;
  readonly before: Spec | undefined;
  /** Of the kind's sealed value; undefined: there is none. */
  readonly sealed: SealedRef | undefined;
  /** That value, where it is a new one. */
  readonly value: Redacted | undefined;
  readonly actor: Principal;
}

/** A value that a file gives as it is, or names by the version that is kept. */
export interface SealedField {
  readonly key: string;
  /** Where a file says nothing of it: what was kept stays, there is none, or it is refused. */
  readonly absent: "kept" | "none" | "refused";
}

const NAME = "[a-z](?:[a-z0-9-]{0,28}[a-z0-9])?";

/** What names of a kind look like. */
export const NAMES = {
  name: { form: "<name>", pattern: new RegExp(`^${NAME}$`) },
  account: {
    form: "<account>",
    pattern: /^(?!(?:owner|admin|holdfast)$)[a-z0-9][a-z0-9._@+-]{0,62}$/,
  },
  environment: { form: "<environment>", pattern: new RegExp(`^${NAME}$`) },
  ofEnvironment: { form: "<environment>/<name>", pattern: new RegExp(`^${NAME}/${NAME}$`) },
  ofAny: { form: "<environment or *>/<name>", pattern: new RegExp(`^(?:\\*|${NAME})/${NAME}$`) },
} as const;

export interface DeclaredKind<Input = unknown, Spec = unknown> {
  readonly kind: Kind<Spec, never>;
  readonly names: (typeof NAMES)[keyof typeof NAMES];
  readonly input: z.ZodType<Input>;
  /** What one has to be allowed. */
  readonly action: Action;
  readonly sealed?: SealedField;
  /** One that is there, as a file has it; its sealed value as `{ version }`. */
  show(spec: Spec): Draft;
  /** @throws where it can't be */
  specOf(given: Given<Input, Spec>): Spec;
  /** Looks at the world before it is written; gives what it saw. @throws where it can't be */
  look?(
    deps: OperationDeps,
    spec: Spec,
    value: Redacted | undefined,
    signal: AbortSignal,
  ): Promise<Draft>;
  /** How it is written, where that is not simply its spec; null removes it. */
  requestOf?(name: string, spec: Spec | null): ControlRequest;
  /** The same for what is a change of an app. */
  changeOf?(name: string, spec: Spec | null, before: Spec | undefined): ChangeRequest;
  /** Why one can't be removed by a file; undefined: it can. */
  kept?(deps: OperationDeps, name: string): string | undefined;
}

export type AnyDeclaredKind = DeclaredKind<never, never>;

/** Keeps the types of input and spec together; whoever reads the list knows neither. */
export const declared = <Input, Spec>(of: DeclaredKind<Input, Spec>): AnyDeclaredKind =>
  of as unknown as AnyDeclaredKind;

/** A sealed value as a file may have it. */
export const sealedInput = <Schema extends z.ZodType>(schema: Schema) =>
  z.union([z.strictObject({ version: z.number().int().min(1) }), schema]).optional();
