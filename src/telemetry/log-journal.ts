// How a log record is written to its journal; `store/tables.ts` reads it.

import { SEPARATOR } from "./store/journal.ts";

export interface LogRecord {
  readonly environment: string;
  readonly app: string;
  readonly service: string;
  readonly release: number;
  readonly instance: string;
  /** Empty: it is looked for in the text. */
  readonly level: string;
  readonly traceId?: string;
  readonly spanId?: string;
}

/** Microseconds that only go up: lines keep their order when they are sorted by time. */
export class MonotonicClock {
  readonly #now: () => number;
  #next = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** The first of `count` moments. */
  take(count: number): number {
    const first = Math.max(this.#now() * 1000, this.#next);
    this.#next = first + count;
    return first;
  }
}

/** One line of the journal. */
export function logLine(record: LogRecord, timeUs: number, text: string): string {
  const { environment, app, service, release, instance, level, traceId = "", spanId = "" } = record;
  return `${[
    timeUs,
    environment,
    app,
    service,
    release,
    instance,
    level,
    traceId,
    spanId,
    clean(text),
  ].join(SEPARATOR)}\n`;
}

// What separates values, lines and appends in a journal can't be part of a value; bytes that were
// given back to the system before a crash read as zeros.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const RESERVED = /[\u0000\u001e\u001f\r\n]/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: as above
const ALL_RESERVED = /[\u001e\u001f\r\n]/g;

export function clean(text: string): string {
  if (!RESERVED.test(text)) return text;
  return text.replace(/\r$/, "").replaceAll("\0", "").replace(ALL_RESERVED, " ");
}
