// Randomness, injected, for the same reason as the clock.

export interface Random {
  /** A number in [0, 1). */
  fraction(): number;
  /** A fresh identifier that is never used again. */
  uid(): string;
}

export const systemRandom: Random = {
  fraction: () => Math.random(),
  uid: () => crypto.randomUUID(),
};
