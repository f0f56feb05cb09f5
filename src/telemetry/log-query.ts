// Log lines that match, and those that come.

import { LOG_LEVELS, type LogFilter, type LogLine, PLATFORM } from "../kernel/signal.ts";
import { all, equals, msOf, quoted, timestamp } from "./sql.ts";
import type { TelemetryStore } from "./store/telemetry-store.ts";

const HOUR_MS = 3_600_000;
/** How far back is looked, step by step, until there are enough lines. */
const LOOK_BACK_MS = [HOUR_MS, 6 * HOUR_MS, 24 * HOUR_MS, 7 * 24 * HOUR_MS];
const SECOND_MS = 1_000;
const FOLLOW_MS = 200;

export class LogQuery {
  readonly #store: TelemetryStore;
  readonly #now: () => number;
  readonly #collect: () => Promise<void>;

  /** `collect`: takes what was written up to now. */
  constructor(store: TelemetryStore, now: () => number, collect: () => Promise<void>) {
    this.#store = store;
    this.#now = now;
    this.#collect = collect;
  }

  /** The last lines that match, oldest first. */
  async find(filter: LogFilter): Promise<readonly LogLine[]> {
    await this.#refresh();
    const now = this.#now();
    const to = filter.to ?? now + SECOND_MS;
    if (filter.after !== undefined) return this.#findAfter(filter, filter.after, to);
    const begins = [
      ...LOOK_BACK_MS.map((ms) => to - ms).filter((from) => from > filter.from),
      filter.from,
    ];
    let lines: readonly LogLine[] = [];
    for (const from of begins) {
      const rows = this.#store.rows("logs", { from, to, environment: undefined });
      lines = await this.#lines(
        rows,
        filter,
        `ORDER BY time DESC LIMIT ${Math.trunc(filter.limit)}`,
      );
      if (lines.filter((line) => !line.isContext).length >= filter.limit) break;
    }
    return lines.toReversed();
  }

  #findAfter(filter: LogFilter, after: number, to: number): Promise<readonly LogLine[]> {
    const rows = this.#store.rows("logs", { from: after, to, environment: undefined });
    const later = `time > ${timestamp(after)}`;
    return this.#lines(
      `SELECT * FROM (${rows}) WHERE ${later}`,
      filter,
      `ORDER BY time LIMIT ${Math.trunc(filter.limit)}`,
    );
  }

  /** Calls with lines that match, as they come, until the returned function is called. */
  follow(filter: LogFilter, onLines: (lines: readonly LogLine[]) => void): () => void {
    const unsubscribe = this.#store.signals.logs.onLoaded(async ({ rows }) => {
      const lines = await this.#lines(rows, filter, "ORDER BY time");
      if (lines.length > 0) onLines(lines);
    });
    const timer = setInterval(() => void this.#refresh().catch(() => undefined), FOLLOW_MS);
    return () => {
      clearInterval(timer);
      unsubscribe();
    };
  }

  // A question finds everything that was written before it.
  async #refresh(): Promise<void> {
    await this.#collect();
    await this.#store.load(["logs"]);
  }

  async #lines(rows: string, filter: LogFilter, tail: string): Promise<readonly LogLine[]> {
    const matching = `SELECT * FROM (${rows}) WHERE ${all(ofWhom(filter), saying(filter))} ${tail}`;
    const { context } = filter;
    const found = await this.#store.database.read(
      `SELECT ${msOf("time")} AS time, environment, app, service, release, instance, level,
              trace_id AS "traceId", span_id AS "spanId", text${context === undefined ? "" : ', "isContext"'}
       FROM (${context === undefined ? matching : around(rows, filter, context, tail)})`,
    );
    return found.map(
      ({ isContext, ...row }) =>
        ({
          ...row,
          time: Number(row["time"]),
          ...(isContext === true && { isContext }),
        }) as unknown as LogLine,
    );
  }
}

const STREAM = "environment, app, service, instance";

// Those that match, and their neighbours in what the same instance wrote: a stack is many lines.
function around(rows: string, filter: LogFilter, context: number, tail: string): string {
  const count = Math.trunc(context);
  const isFound = `time BETWEEN (SELECT min(time) FROM found) AND (SELECT max(time) FROM found)`;
  return `WITH own AS (SELECT * FROM (${rows}) WHERE ${ofWhom(filter)}),
    found AS (SELECT time FROM own WHERE ${saying(filter)} ${tail}),
    marked AS (SELECT *, (${saying(filter)}) AND ${isFound} AS "isMatch" FROM own),
    shown AS (SELECT *, bool_or("isMatch") OVER (
      PARTITION BY ${STREAM} ORDER BY time, text
      ROWS BETWEEN ${count} PRECEDING AND ${count} FOLLOWING) AS "isShown" FROM marked)
    SELECT *, NOT "isMatch" AS "isContext" FROM shown WHERE "isShown" ${tail.replace(/ LIMIT \d+$/, "")}`;
}

function ofWhom(filter: LogFilter): string {
  const { environment, withPlatform, app, service, release, instance } = filter;
  return all(
    environment === undefined
      ? undefined
      : withPlatform && !app
        ? `environment IN (${quoted(environment)}, ${quoted(PLATFORM)})`
        : equals("environment", environment),
    equals("app", app),
    equals("service", service),
    equals("release", release),
    instance === undefined ? undefined : instanceIs(instance),
  );
}

function saying({ level, text, fields, traceId }: LogFilter): string {
  const least = level === undefined ? -1 : LOG_LEVELS.indexOf(level as never);
  return all(
    equals("trace_id", traceId),
    least < 0 ? undefined : `level IN (${LOG_LEVELS.slice(least).map(quoted).join(", ")})`,
    text === undefined ? undefined : `contains(lower(text), ${quoted(text.toLowerCase())})`,
    ...Object.entries(fields ?? {}).map(
      ([key, value]) =>
        `${quoted(value)} IN (${pointersOf(key)
          .map((pointer) => `json_extract_string(${JSON_TEXT}, ${quoted(pointer)})`)
          .join(", ")})`,
    ),
  );
}

/** By its name, or as `status` and log lines show it: `web.1`. */
function instanceIs(name: string): string {
  const [, service, index] = /^([a-z0-9-]+)\.(\d+)$/.exec(name) ?? [];
  if (service === undefined) return `instance = ${quoted(name)}`;
  return `(${equals("service", service)} AND ends_with(instance, ${quoted(`.${index}`)}))`;
}

const JSON_TEXT = "CASE WHEN starts_with(text, '{') AND json_valid(text) THEN text ELSE '{}' END";

/** `http.status` may be one key or two (JSON pointers, RFC 6901). */
function pointersOf(key: string): readonly string[] {
  const escaped = key.replaceAll("~", "~0").replaceAll("/", "~1");
  return [...new Set([`/${escaped}`, `/${escaped.replaceAll(".", "/")}`])];
}
