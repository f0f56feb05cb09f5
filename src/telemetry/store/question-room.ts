// How many questions are answered at once: each is a process, and one environment's must not hold up
// another's.

import { transient } from "../../kernel/error.ts";

const AT_ONCE = 4;
const OF_ONE = 2;
const WAITING_MAX = 20;

interface Waiting {
  readonly key: string;
  readonly enter: () => void;
  readonly refuse: (why: Error) => void;
}

export class QuestionRoom {
  readonly #inside = new Map<string, number>();
  readonly #waiting: Waiting[] = [];

  /** @throws query.busy where too many wait already */
  async ask<Answer>(key: string, work: () => Promise<Answer>): Promise<Answer> {
    await this.#enter(key);
    try {
      return await work();
    } finally {
      this.#leave(key);
    }
  }

  #enter(key: string): Promise<void> {
    if (this.#hasRoomFor(key)) {
      this.#count(key, 1);
      return Promise.resolve();
    }
    if (this.#waiting.filter((one) => one.key === key).length >= WAITING_MAX)
      throw transient("query.busy", `${WAITING_MAX} questions wait already`, {
        hint: "try again in a moment",
      });
    return new Promise((resolve, reject) => {
      this.#waiting.push({ key, enter: resolve, refuse: reject });
    });
  }

  /** Who waits, waits in vain. */
  close(): void {
    for (const { refuse } of this.#waiting.splice(0))
      refuse(transient("query.busy", "telemetry is ending", { hint: "ask again in a moment" }));
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
    const all = [...this.#inside.values()].reduce((sum, one) => sum + one, 0);
    // The last place is for somebody who has none.
    const own = this.#inside.get(key) ?? 0;
    return all < AT_ONCE && own < OF_ONE && (own === 0 || all < AT_ONCE - 1);
  }

  #count(key: string, change: number): void {
    const now = (this.#inside.get(key) ?? 0) + change;
    if (now === 0) this.#inside.delete(key);
    else this.#inside.set(key, now);
  }
}
