// So many at once, and so few of one: what one asks for waits for its turn, and does not hold up what
// others ask for.

export interface TurnsOptions {
  readonly atOnce: number;
  /** The last place is for one that has none. */
  readonly ofOne: number;
  /** Of one, that wait. */
  readonly waitingMax: number;
  /** Where too many wait, or nobody gets a turn any more. */
  readonly refusal: (key: string) => Error;
}

interface Waiting {
  readonly key: string;
  readonly enter: () => void;
  readonly refuse: (why: unknown) => void;
}

export class Turns {
  readonly #options: TurnsOptions;
  readonly #inside = new Map<string, number>();
  readonly #waiting: Waiting[] = [];

  constructor(options: TurnsOptions) {
    this.#options = options;
  }

  /** Gives what the work gives; rejects with the refusal, or where the signal fires while it waits. */
  async take<Result>(
    key: string,
    work: () => Promise<Result>,
    signal?: AbortSignal,
  ): Promise<Result> {
    await this.#enter(key, signal);
    try {
      return await work();
    } finally {
      this.#leave(key);
    }
  }

  /** Who waits, waits in vain. */
  close(): void {
    for (const { key, refuse } of this.#waiting.splice(0)) refuse(this.#options.refusal(key));
  }

  #enter(key: string, signal: AbortSignal | undefined): Promise<void> {
    if (this.#hasRoomFor(key)) {
      this.#count(key, 1);
      return Promise.resolve();
    }
    const { waitingMax, refusal } = this.#options;
    if (this.#waiting.filter((one) => one.key === key).length >= waitingMax)
      return Promise.reject(refusal(key));
    return new Promise((resolve, reject) => {
      const waiting: Waiting = { key, enter: resolve, refuse: reject };
      this.#waiting.push(waiting);
      signal?.addEventListener("abort", () => {
        const index = this.#waiting.indexOf(waiting);
        if (index >= 0) this.#waiting.splice(index, 1);
        reject(signal.reason);
      });
    });
  }

  #leave(key: string): void {
    this.#count(key, -1);
    const next = this.#waiting.findIndex((one) => this.#hasRoomFor(one.key));
    const [one] = next < 0 ? [] : this.#waiting.splice(next, 1);
    if (!one) return;
    this.#count(one.key, 1);
    one.enter();
  }

  #hasRoomFor(key: string): boolean {
    const { atOnce, ofOne } = this.#options;
    const all = [...this.#inside.values()].reduce((sum, one) => sum + one, 0);
    const own = this.#inside.get(key) ?? 0;
    return all < atOnce && own < ofOne && (own === 0 || all < atOnce - 1);
  }

  #count(key: string, change: number): void {
    const now = (this.#inside.get(key) ?? 0) + change;
    if (now === 0) this.#inside.delete(key);
    else this.#inside.set(key, now);
  }
}
