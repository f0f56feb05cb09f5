// Time that only moves when we say so. Whatever waits on it runs in the order of its due times.

import type { Clock } from "../../src/kernel/clock.ts";

interface Timer {
  readonly at: number;
  readonly id: number;
  readonly callback: () => void;
}

export class VirtualClock implements Clock {
  #now: number;
  #timers: Timer[] = [];
  #nextId = 0;

  constructor(now = 1_800_000_000_000) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { at: this.#now + Math.max(0, Math.round(delayMs)), id: this.#nextId, callback };
    this.#nextId += 1;
    const index = this.#timers.findIndex((one) => one.at > timer.at);
    if (index < 0) this.#timers.push(timer);
    else this.#timers.splice(index, 0, timer);
    return () => {
      this.#timers = this.#timers.filter((one) => one !== timer);
    };
  }

  /** Runs everything that is due within `ms`; `onStep` is called whenever something happened. */
  async advance(ms: number, onStep: () => void = () => undefined): Promise<void> {
    const end = this.#now + ms;
    await settle();
    onStep();
    while (this.#timers[0] && this.#timers[0].at <= end) {
      const timer = this.#timers.shift();
      if (!timer) break;
      this.#now = Math.max(this.#now, timer.at);
      timer.callback();
      await settle();
      onStep();
    }
    this.#now = end;
  }
}

/** Lets every promise that can go on do so. */
async function settle(): Promise<void> {
  for (let i = 0; i < 3; i += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** A seeded source of chance (mulberry32): the same seed, the same story. */
export class SeededRandom {
  #state: number;
  #uids = 0;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  fraction(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }

  uid(): string {
    this.#uids += 1;
    return `uid-${this.#uids}`;
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  between(low: number, high: number): number {
    return Math.floor(low + this.fraction() * (high - low + 1));
  }

  pick<Item>(items: readonly Item[]): Item {
    const item = items[Math.floor(this.fraction() * items.length)];
    if (item === undefined) throw new Error("nothing to pick from");
    return item;
  }
}
