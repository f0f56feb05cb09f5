// The signals that leave the data plane, as their writers and the telemetry process agree on them.
// A request record is one line, values between tabs, in the order of REQUEST_COLUMNS.

export const REQUEST_COLUMNS = [
  "time", // ms since the epoch
  "pool", // production.storefront.web.a; the listener where no pool was chosen
  "instance", // production.storefront.web.r12.1, or <NOSRV> where no instance got it
  "route", // storefront.localhost/api, or internal
  "client",
  "method",
  "host",
  "path",
  "query",
  "version",
  "status",
  "queueMs",
  "connectMs",
  "responseMs",
  "totalMs",
  "bytesIn",
  "bytesOut",
  "ending", // HAProxy's termination state
  "retries",
  "requestId", // 32 hex digits; the trace's id too, where none was continued
  "continuedTrace", // id of the trace that the client began, or -
  "userAgent",
] as const;

export type RequestColumn = (typeof REQUEST_COLUMNS)[number];

/** What is said of a log file beside it, in `<file>.json`. */
export interface LogSource {
  /** `production/storefront`, or `engine/edge` */
  readonly app: string;
  readonly service: string;
  readonly release: number;
  readonly instance: string;
  readonly role: string;
  /** Nothing more will be written to it. */
  readonly ended?: boolean;
}

export interface LogLine {
  /** ms since the epoch, when the line was collected */
  readonly time: number;
  readonly app: string;
  readonly service: string;
  readonly release: number;
  readonly instance: string;
  readonly text: string;
}
