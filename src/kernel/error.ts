// Errors are sorted by who must act next: that is the only question a caller has.
// Expected outcomes (a plan, a verdict, a parse result) are values; what cannot go on is thrown.

export type ActsNext = "caller" | "nobody-yet" | "operator" | "developer";

export interface ErrorDetails {
  /** What to do now, as a command or a sentence. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
  readonly fields?: Readonly<Record<string, string | number>>;
}

/** The wire form of a HoldfastError: `application/problem+json` with two members of our own. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: string;
  readonly actsNext: ActsNext;
  readonly hint?: string | undefined;
  readonly fields?: Readonly<Record<string, string | number>> | undefined;
}

export class HoldfastError extends Error {
  /** Stable and dotted, for programs: `app.not_found`. */
  readonly code: string;
  readonly actsNext: ActsNext;
  readonly hint: string | undefined;
  readonly fields: Readonly<Record<string, string | number>>;

  constructor(actsNext: ActsNext, code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "HoldfastError";
    this.actsNext = actsNext;
    this.code = code;
    this.hint = details.hint;
    this.fields = details.fields ?? {};
  }
}

/** The caller must change the request: 4xx, exit 2. */
export const invalid = (code: string, message: string, details?: ErrorDetails): HoldfastError =>
  new HoldfastError("caller", code, message, details);

/** Nobody needs to act yet, it is tried again: 503, exit 75. */
export const transient = (code: string, message: string, details?: ErrorDetails): HoldfastError =>
  new HoldfastError("nobody-yet", code, message, details);

/** Only a person with access to the machine can help: 409, exit 3. */
export const stuck = (code: string, message: string, details?: ErrorDetails): HoldfastError =>
  new HoldfastError("operator", code, message, details);

/** A broken invariant: 500, exit 70. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new HoldfastError("developer", "bug.assertion", message);
}

/** Anything thrown, as a HoldfastError: an unknown failure is the developer's to act on. */
export function asHoldfastError(thrown: unknown): HoldfastError {
  if (thrown instanceof HoldfastError) return thrown;
  if (isDiskFull(thrown)) return diskFull(thrown);
  return new HoldfastError("developer", "bug.unexpected", messageOf(thrown), { cause: thrown });
}

export function diskFull(
  cause?: unknown,
  where = "the disk that holds Holdfast's state",
): HoldfastError {
  return stuck("disk.full", `${where} is full`, {
    hint: "free some space (holdfast doctor shows where it went), then try again; nothing was changed",
    cause,
  });
}

/** The message and those of its causes, outermost first, in one line. */
export function messageOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const own = thrown.message || (thrown as NodeJS.ErrnoException).code || thrown.name;
  if (thrown instanceof AggregateError && thrown.errors.length > 0 && !thrown.message) {
    return messageOf(thrown.errors[0]);
  }
  return thrown.cause === undefined ? own : `${own}: ${messageOf(thrown.cause)}`;
}

export function isDiskFull(thrown: unknown): boolean {
  for (let at: unknown = thrown, depth = 0; at instanceof Error && depth < 8; depth += 1) {
    const code = (at as NodeJS.ErrnoException).code;
    if (code === "ENOSPC" || code === "EDQUOT") return true;
    if (/database or disk is full|no space left on device/i.test(at.message)) return true;
    at = at.cause;
  }
  return false;
}

const STATUS: Readonly<Record<ActsNext, number>> = {
  caller: 400,
  "nobody-yet": 503,
  operator: 409,
  developer: 500,
};

export function problemOf(error: HoldfastError): Problem {
  const found = { not_found: 404, conflict: 409, unauthorized: 401, forbidden: 403 };
  const suffix = error.code.split(".").at(-1) as keyof typeof found;
  return {
    type: `https://holdfast.dev/errors/${error.code}`,
    title: error.code.replaceAll(/[._]/g, " "),
    status: error.actsNext === "caller" ? (found[suffix] ?? STATUS.caller) : STATUS[error.actsNext],
    detail: error.actsNext === "developer" ? messageOf(error) : error.message,
    code: error.code,
    actsNext: error.actsNext,
    hint: error.hint,
    fields: Object.keys(error.fields).length > 0 ? error.fields : undefined,
  };
}

export function errorOfProblem(problem: Problem): HoldfastError {
  return new HoldfastError(problem.actsNext, problem.code, problem.detail, {
    hint: problem.hint,
    fields: problem.fields ?? {},
  });
}

/** Exit codes follow sysexits where it has a word: 75 is "try again later", 70 "internal software". */
export const EXIT_CODE: Readonly<Record<ActsNext, number>> = {
  caller: 2,
  "nobody-yet": 75,
  operator: 3,
  developer: 70,
};
