// A queue of names, never of events. A name that is added twice is looked at once; one that is
// added while it is being looked at is looked at again right after. A look that throws is repeated
// later and later, with jitter; one that succeeds says itself when to look next. Losing every hint
// therefore costs only time.

import type { Clock } from "./clock.ts";
import type { Random } from "./id.ts";

export const RETRY_FIRST_MS = 250;
export const RETRY_MAX_MS = 30_000;

export interface WorkQueueOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly maxWorkers: number;
  /** Looks at one key; returns how long until the next look. */
  readonly work: (key: string) => Promise<{ readonly recheckAfterMs: number } | undefined>;
  readonly onError: (key: string, error: unknown, retryInMs: number) => void;
}

interface Entry {
  state: "idle" | "ready" | "busy" | "busy-dirty";
  failures: number;
  cancelTimer: (() => void) | undefined;
}

export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #ready: string[] = [];
  #busy = 0;
  #stopped = false;
  #onIdle: (() => void) | undefined;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
  }

  /** Look at this key soon. */
  add(key: string): void {
    if (this.#stopped) return;
    const entry = this.#entry(key);
    if (entry.state === "busy") entry.state = "busy-dirty";
    if (entry.state !== "idle") return;
    entry.cancelTimer?.();
    entry.cancelTimer = undefined;
    entry.state = "ready";
    this.#ready.push(key);
    this.#startWork();
  }

  /** Nothing new is begun; resolves when what is under way has ended. */
  stop(): Promise<void> {
    this.#stopped = true;
    for (const entry of this.#entries.values()) entry.cancelTimer?.();
    if (this.#busy === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onIdle = resolve;
    });
  }

  #entry(key: string): Entry {
    let entry = this.#entries.get(key);
    if (!entry) {
      entry = { state: "idle", failures: 0, cancelTimer: undefined };
      this.#entries.set(key, entry);
    }
    return entry;
  }

  #startWork(): void {
    while (!this.#stopped && this.#busy < this.#options.maxWorkers) {
      const key = this.#ready.shift();
      if (key === undefined) return;
      this.#busy += 1;
      void this.#look(key);
    }
  }

  async #look(key: string): Promise<void> {
    const entry = this.#entry(key);
    entry.state = "busy";
    try {
      const next = await this.#options.work(key);
      entry.failures = 0;
      this.#finish(key, entry, next?.recheckAfterMs);
    } catch (error) {
      const retryInMs = this.#backoffMs(entry.failures);
      entry.failures += 1;
      this.#options.onError(key, error, retryInMs);
      this.#finish(key, entry, retryInMs);
    }
  }

  #backoffMs(failures: number): number {
    const full = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(failures, 20));
    return Math.round(full * (0.5 + this.#options.random.fraction() / 2));
  }

  #finish(key: string, entry: Entry, recheckAfterMs: number | undefined): void {
    this.#busy -= 1;
    const isDirty = entry.state === "busy-dirty";
    entry.state = "idle";
    if (this.#stopped) {
      if (this.#busy === 0) this.#onIdle?.();
      return;
    }
    if (isDirty) this.add(key);
    else if (recheckAfterMs === undefined) this.#entries.delete(key);
    else {
      // Never at once: looks that only wait for each other would leave no turn to anything else.
      const afterMs = Math.max(1, recheckAfterMs);
      entry.cancelTimer = this.#options.clock.after(afterMs, () => this.add(key));
    }
    this.#startWork();
  }
}
