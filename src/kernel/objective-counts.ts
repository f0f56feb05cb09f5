import type { Counted } from "./signal.ts";

/** What of an objective was kept and broken, by release: exactly, from request records. */
export interface ObjectiveQuestion {
  readonly environment: string;
  readonly app: string;
  readonly service: string;
  /** Latency: an answer is good within so many ms; undefined: availability. */
  readonly underMs?: number | undefined;
  /** ms since the epoch; requests that began in between. */
  readonly from: number;
  readonly to: number;
  /** Each route apart, the worst first; the others are left out. */
  readonly byRoute?: boolean | undefined;
}

export interface ObjectiveCounts extends Counted {
  readonly release: number;
  /** `GET /orders/*` */
  readonly route?: string;
}
