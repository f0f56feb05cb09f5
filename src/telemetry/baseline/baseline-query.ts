// Which hours of which services depart from what is usual there.

import type { AnomalyReport, Departure, HourSummary } from "../../kernel/signal.ts";
import { departuresOf, type History } from "./departures.ts";
import type { HourSummaries } from "./hour-summaries.ts";

export interface AnomalyQuestion {
  readonly from: number;
  readonly to: number;
  readonly environment: string;
  readonly app?: string | undefined;
}

const HOUR_MS = 3_600_000;
/** Less of the hour that is going on says too little about it. */
const LEAST_SHARE = 0.2;

export class BaselineQuery {
  readonly #hours: HourSummaries;

  constructor(hours: HourSummaries) {
    this.#hours = hours;
  }

  async anomalies({ from, to, environment, app }: AnomalyQuestion): Promise<AnomalyReport> {
    await this.#hours.update();
    const open = await this.#hours.between(this.#hours.through, to);
    const prefix = app === undefined ? `${environment}/` : `${environment}/${app}/`;
    const services = [...this.#hours.histories()].filter(([key]) => key.startsWith(prefix));
    const departures = services.flatMap(([key, history]) => [
      ...[...history.values()]
        .filter(({ hour }) => hour + HOUR_MS > from && hour < to)
        .flatMap((hour) => departuresOf(hour, 1, history)),
      ...this.#openHours(key, history, open, to).flatMap(({ hour, share }) =>
        departuresOf(hour, share, history),
      ),
    ]);
    return {
      departures: departures.sort(newestFirst),
      known: services.map(([key, history]) => {
        const [, name = "", service = ""] = key.split("/");
        return { app: name, service, hours: history.size };
      }),
    };
  }

  /** Hours that are not summed up yet, with how much of each is over; empty ones too. */
  #openHours(key: string, history: History, open: readonly HourSummary[], to: number) {
    const [any] = history.values();
    const hours: { readonly hour: HourSummary; readonly share: number }[] = [];
    // One that was silent for two days is not known to run any more.
    const isGone = !history.has(this.#hours.through - HOUR_MS);
    for (let hour = this.#hours.through; any && !isGone && hour < to; hour += HOUR_MS) {
      const share = Math.min(1, (to - hour) / HOUR_MS);
      const counted = open.find((one) => one.hour === hour && keyOf(one) === key);
      const none = { ...any, hour, requests: 0, errors: 0, p50Ms: 0, p95Ms: 0 };
      if (share >= LEAST_SHARE) hours.push({ hour: counted ?? none, share });
    }
    return hours;
  }
}

const keyOf = ({ environment, app, service }: HourSummary): string =>
  `${environment}/${app}/${service}`;

const newestFirst = (one: Departure, other: Departure): number =>
  other.hour - one.hour || Math.abs(other.score) - Math.abs(one.score);
