// A plan is data: given what was asked and what is seen, what now? It can be printed, diffed,
// logged and tested without touching the world. It is never resumed: its steps run in order, the
// first failure ends the pass, and the next pass looks at the world again.

export interface AnyStep {
  /** Verb-noun: `start-instance`. */
  readonly do: string;
  /** One sentence for the person who reads the timeline. */
  readonly why: string;
}

export type Plan<Step extends AnyStep> =
  | { readonly verdict: "converged"; readonly recheckAfterMs: number }
  | {
      readonly verdict: "change";
      readonly steps: readonly [Step, ...Step[]];
      /** How long after the steps to look again; at once where nothing is said. */
      readonly recheckAfterMs?: number;
    }
  | { readonly verdict: "wait"; readonly reason: string; readonly recheckAfterMs: number }
  | {
      readonly verdict: "blocked";
      readonly reason: string;
      /** A command that a person can run. */
      readonly hint: string;
      readonly recheckAfterMs: number;
    };

export const converged = (recheckAfterMs: number) =>
  ({ verdict: "converged", recheckAfterMs }) as const;

export const wait = (reason: string, recheckAfterMs: number) =>
  ({ verdict: "wait", reason, recheckAfterMs }) as const;

export const blocked = (reason: string, hint: string, recheckAfterMs: number) =>
  ({ verdict: "blocked", reason, hint, recheckAfterMs }) as const;

/** A change where there are steps, otherwise the given plan. */
export function changeOr<Step extends AnyStep>(
  steps: readonly Step[],
  otherwise: Plan<Step>,
): Plan<Step> {
  const [first, ...rest] = steps;
  return first ? { verdict: "change", steps: [first, ...rest] } : otherwise;
}
