// Builds take turns: some beside each other, those of one app one after the other, in the order in
// which they were asked for. One environment's do not hold up another's: where none of it runs, one
// begins beyond the limit. Each can be cancelled while it waits and while it runs.

export interface QueuedWork {
  readonly key: string;
  /** `production/shop` */
  readonly app: string;
  readonly work: (signal: AbortSignal) => Promise<void>;
}

interface Job extends QueuedWork {
  readonly abort: AbortController;
  readonly ended: PromiseWithResolvers<void>;
  isRunning: boolean;
}

/** Beyond the limit, for environments of which no build runs. */
const PLACES_BEYOND = 2;

const environmentOf = ({ app }: QueuedWork): string => app.split("/")[0] ?? "";

export class BuildQueue {
  readonly #maxAtOnce: number;
  readonly #jobs: Job[] = [];

  constructor(maxAtOnce: number) {
    this.#maxAtOnce = maxAtOnce;
  }

  /** Harmless where work of that key waits or runs already. */
  add(work: QueuedWork): void {
    if (this.#find(work.key)) return;
    this.#jobs.push({
      ...work,
      abort: new AbortController(),
      ended: Promise.withResolvers(),
      isRunning: false,
    });
    this.#begin();
  }

  /** Undefined where it neither waits nor runs; otherwise how many come before it. */
  ahead(key: string): number | undefined {
    const job = this.#find(key);
    if (!job) return undefined;
    return job.isRunning ? 0 : Math.max(1, this.#jobs.indexOf(job));
  }

  isEnding(key: string): boolean {
    return this.#find(key)?.abort.signal.aborted === true;
  }

  /** What runs is told to end; what waits is told when its turn comes, which is at once. */
  cancel(key: string): void {
    const job = this.#find(key);
    job?.abort.abort();
    if (job && !job.isRunning) void this.#run(job);
  }

  /** Until no build of an app waits or runs. */
  async idle(app: string): Promise<void> {
    for (;;) {
      const job = this.#jobs.find((one) => one.app === app);
      if (!job) return;
      await job.ended.promise;
    }
  }

  #find(key: string): Job | undefined {
    return this.#jobs.find((job) => job.key === key);
  }

  #begin(): void {
    for (const job of [...this.#jobs]) {
      const running = this.#jobs.filter(({ isRunning }) => isRunning);
      if (job.isRunning || running.some(({ app }) => app === job.app)) continue;
      if (this.#hasPlaceFor(job, running)) void this.#run(job);
    }
  }

  #hasPlaceFor(job: Job, running: readonly Job[]): boolean {
    const hasOne = running.some((one) => environmentOf(one) === environmentOf(job));
    return running.length < this.#maxAtOnce + (hasOne ? 0 : PLACES_BEYOND);
  }

  async #run(job: Job): Promise<void> {
    job.isRunning = true;
    try {
      await job.work(job.abort.signal);
    } finally {
      this.#jobs.splice(this.#jobs.indexOf(job), 1);
      job.ended.resolve();
      this.#begin();
    }
  }
}
