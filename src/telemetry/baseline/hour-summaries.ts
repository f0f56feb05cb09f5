// Every service's hours, summed up once they are over and kept for longer than the requests they
// were: what baselines are learned from.

import { join } from "node:path";
import type { HourSummary } from "../../kernel/signal.ts";
import { keepFile, readKept } from "../store/durable-file.ts";
import type { TelemetryStore } from "../store/telemetry-store.ts";
import type { History } from "./departures.ts";

export interface HourSummariesOptions {
  readonly dir: string;
  readonly store: TelemetryStore;
  readonly now: () => number;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const LOOK_EVERY_MS = 5 * 60_000;
const SILENT_HOURS = 48;
const KEPT_HOURS = 9 * 7 * 24;
/** A request is recorded when it ends; those of an hour are there a little after it. */
const LATE_MS = 2 * 60_000;

const floorToHour = (ms: number): number => Math.floor(ms / HOUR_MS) * HOUR_MS;

interface Kept {
  /** Hours before this one are summed up. */
  readonly through: number;
  readonly hours: readonly HourSummary[];
}

export class HourSummaries {
  readonly #options: HourSummariesOptions;
  readonly #file: string;
  #kept: Kept;
  #updating: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: HourSummariesOptions) {
    this.#options = options;
    this.#file = join(options.dir, "hours.json");
    this.#kept = readKept<Kept>(this.#file) ?? { through: 0, hours: [] };
  }

  start(onProblem: (error: unknown) => void): void {
    this.#timer = setInterval(() => void this.update().catch(onProblem), LOOK_EVERY_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Sums up what is over by now and was not yet; the first time everything that is stored. */
  update(): Promise<void> {
    // One after the other: two at once would each add the same hours.
    const done = this.#updating.then(() => this.#update());
    this.#updating = done.catch(() => undefined);
    return done;
  }

  async #update(): Promise<void> {
    const { now } = this.#options;
    const through = floorToHour(now() - LATE_MS);
    const { through: from } = this.#kept;
    if (through <= from) return;
    const { store } = this.#options;
    await store.load(["requests"]);
    const [row] = await store.database.read(
      `SELECT epoch_ms(min(time))::DOUBLE AS first FROM (${store.rows("requests", { from, to: through - 1 })})`,
    );
    let begin = row?.["first"] ? floorToHour(Number(row["first"])) : through;
    const oldest = through - KEPT_HOURS * HOUR_MS;
    while (this.#kept.through < through) {
      const end = Math.min(begin + DAY_MS, through);
      // These are kept and must miss no row; a day at a time, for rows wait meanwhile.
      const fresh = await store.signals.requests.undisturbed(() => this.#sumUp(begin, end));
      const hours = [...this.#kept.hours, ...fresh].filter(({ hour }) => hour >= oldest);
      this.#kept = { through: end, hours };
      keepFile(this.#file, JSON.stringify(this.#kept));
      begin = end;
    }
  }

  /** From the records themselves: of the hour that is not over, and of those not summed up yet. */
  async between(from: number, to: number): Promise<readonly HourSummary[]> {
    await this.#options.store.load(["requests"]);
    return this.#sumUp(from, to);
  }

  async #sumUp(from: number, to: number): Promise<readonly HourSummary[]> {
    const { store } = this.#options;
    // Quantiles by t-digest, within a percent: exact ones would hold every duration in memory.
    const rows = await store.database.read(`
      SELECT epoch_ms(date_trunc('hour', time))::DOUBLE AS hour, environment, app, service,
             count(*)::DOUBLE AS requests,
             (count(*) FILTER (failed = 1))::DOUBLE AS errors,
             approx_quantile(latency_ms, 0.5)::DOUBLE AS p50,
             approx_quantile(latency_ms, 0.95)::DOUBLE AS p95
      FROM (${store.rows("requests", { from, to: to - 1 })})
      WHERE app <> '' GROUP BY ALL ORDER BY hour`);
    return rows.map((row) => ({
      hour: Number(row["hour"]),
      environment: String(row["environment"]),
      app: String(row["app"]),
      service: String(row["service"]),
      requests: Number(row["requests"]),
      errors: Number(row["errors"]),
      p50Ms: Number(row["p50"]),
      p95Ms: Number(row["p95"]),
    }));
  }

  /** Hours before this one are in `histories`. */
  get through(): number {
    return this.#kept.through;
  }

  /**
   * Service (`production/shop/web`) → its hours, those without a request too: from its first hour to
   * the last that is summed up, or two days after its last request.
   */
  histories(): ReadonlyMap<string, History> {
    const { through, hours } = this.#kept;
    const histories = new Map<string, Map<number, HourSummary>>();
    for (const one of hours) {
      const key = `${one.environment}/${one.app}/${one.service}`;
      const history = histories.get(key) ?? new Map<number, HourSummary>();
      histories.set(key, history.set(one.hour, one));
    }
    for (const history of histories.values()) {
      const [first] = history.values();
      const last = Math.max(...history.keys());
      if (!first) continue;
      // What nobody has asked for days is gone, not down.
      const end = Math.min(through, last + SILENT_HOURS * HOUR_MS);
      for (let hour = first.hour; hour < end; hour += HOUR_MS)
        if (!history.has(hour))
          history.set(hour, { ...first, hour, requests: 0, errors: 0, p50Ms: 0, p95Ms: 0 });
    }
    return histories;
  }
}
