// Who comes with a token that nobody knows leaves a trace: the first try from an address at once, then
// how many there were, in ever larger steps, so that who tries millions fills no disk.

import type { OperationDeps } from "./operation-deps.ts";

const HOUR_MS = 3_600_000;
const ADDRESSES_MAX = 1_000;
const OTHERS = "many addresses";

interface Tries {
  readonly since: number;
  readonly count: number;
}

export class UnknownTokens {
  readonly #deps: Pick<OperationDeps, "audit" | "clock">;
  readonly #tries = new Map<string, Tries>();

  constructor(deps: Pick<OperationDeps, "audit" | "clock">) {
    this.#deps = deps;
  }

  tried(from: string): void {
    const now = this.#deps.clock.now();
    for (const [address, { since }] of this.#tries)
      if (now - since >= HOUR_MS) this.#tries.delete(address);
    const isKnown = this.#tries.has(from);
    const address = isKnown || this.#tries.size < ADDRESSES_MAX ? from : OTHERS;
    const { since, count } = this.#tries.get(address) ?? { since: now, count: 0 };
    this.#tries.set(address, { since, count: count + 1 });
    if (!isPowerOfTen(count + 1)) return;
    this.#deps.audit.append({
      at: now,
      actor: "unknown",
      source: address,
      action: "unknown-token",
      kind: "access",
      name: "installation",
      generation: 0,
      change: [
        { field: "tries", to: count + 1 },
        { field: "since", to: new Date(since).toISOString() },
      ],
    });
  }
}

const isPowerOfTen = (count: number): boolean => Number.isInteger(Math.log10(count));
