// The tables of the store: what each row says, and how a line of a journal becomes one. Nothing is
// parsed in JavaScript: the database reads journals as they are, on its own threads.

import { REQUEST_COLUMNS, type Signal, type TelemetryPolicies } from "../../kernel/signal.ts";
import { quoted } from "../sql.ts";
import { MARK, SEPARATOR } from "./journal.ts";
import { redactPeople } from "./privacy.ts";

export interface Column {
  readonly name: string;
  readonly type: "TIMESTAMP" | "VARCHAR" | "INTEGER" | "BIGINT" | "DOUBLE";
  readonly says: string;
}

export interface Table {
  readonly signal: Signal;
  readonly says: string;
  readonly columns: readonly Column[];
  /** What a column holds in files of an earlier build, which did not have it. */
  readonly ofEarlier?: Readonly<Record<string, string>>;
  /** A query whose rows are those of journal files, in the order of `columns`. */
  readonly parse: (files: readonly string[]) => string;
  /** Leaves out of rows what is about people, as each environment's policy says. */
  readonly redact?: (
    rows: string,
    columns: readonly string[],
    policies: TelemetryPolicies,
  ) => string;
  /** Rows of a file lie in this order: what is asked for together is read together. */
  readonly order: string;
  readonly rowGroupRows: number;
}

const column = (name: string, type: Column["type"], says: string): Column => ({ name, type, says });

const WHOSE: readonly Column[] = [
  column("environment", "VARCHAR", "`production`; `platform` for what belongs to no environment"),
  column("app", "VARCHAR", "name of the app; empty for engines"),
  column("service", "VARCHAR", "service, worker, job, `build`, `release`, `run`, or the engine"),
  column("release", "INTEGER", "number of the release; 0 where there is none"),
  column("instance", "VARCHAR", "name of the instance"),
];

export const LOG_JOURNAL = [
  "timeUs",
  "environment",
  "app",
  "service",
  "release",
  "instance",
  "level",
  "traceId",
  "spanId",
  "text",
] as const;

export const SPAN_JOURNAL = [
  "timeUs",
  "durationUs",
  "environment",
  "app",
  "service",
  "release",
  "instance",
  "traceId",
  "spanId",
  "parentSpanId",
  "name",
  "kind",
  "status",
  "scope",
  "attributes",
  "events",
] as const;

export const USAGE_JOURNAL = [
  "timeUs",
  "environment",
  "app",
  "service",
  "release",
  "kind",
  "page",
  "name",
  "value",
  "visitor",
  "client",
  "browser",
  "device",
  "traceId",
  "text",
] as const;

/** An empty value is empty, not unknown. */
const NEVER = "\u001d";
const listOf = (files: readonly string[]): string => `[${files.map(quoted).join(", ")}]`;

function readLines(
  files: readonly string[],
  columns: readonly string[],
  delimiter = SEPARATOR,
): string {
  const types = columns.map((name) => `'${name}': 'VARCHAR'`).join(", ");
  return (
    `read_csv(${listOf(files)}, delim = '${delimiter}', quote = '', escape = '', comment = '${MARK}', ` +
    `header = false, auto_detect = false, ignore_errors = true, null_padding = true, nullstr = '${NEVER}', columns = {${types}})`
  );
}

// In plain lines the first word that says a level counts: after `level=`, in brackets or before a
// colon in any case, otherwise in capitals. Then the ways of Go, Ruby and systemd in one letter or
// digit, and what an exception begins with.
const LEVEL_WORD =
  "trace|debug|dbug|verbose|info|information|notice|log|warn|warning|error|err|fail|severe|fatal|crit|critical|alert|emerg|panic";
const CAPITALS =
  "TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|ERR|SEVERE|FATAL|CRIT|CRITICAL|ALERT|EMERG|PANIC";
const LEVEL_HEAD_CHARS = 200;

const plainLevelOf = (head: string): string => {
  const named = `regexp_extract(${head}, '(?i)\\b(?:level|lvl|severity)["'']?\\s?[=:]\\s?["'']?([a-z]+)', 1)`;
  const first = `regexp_extract(${head}, '(?:^|[\\s\\[(<|"''])(?i:${LEVEL_WORD})["'']?[\\])>:|]|\\b(?:${CAPITALS})\\b')`;
  const letter = `regexp_extract(${head}, '^(?:([IWEF])\\d{4} \\d\\d:|([DIWEFA]), \\[|<([0-7])>)')`;
  return `
    coalesce(CASE WHEN regexp_matches(${head}, '(?i)\\b(level|lvl|severity)') THEN ${levelOf(named)} END,
             ${levelOf(`regexp_replace(${first}, '[^A-Za-z]', '', 'g')`)},
             CASE regexp_replace(${letter}, '^<?(.).*$', '\\1')
               WHEN 'D' THEN 'debug' WHEN 'I' THEN 'info' WHEN 'W' THEN 'warn' WHEN 'E' THEN 'error'
               WHEN 'F' THEN 'fatal' WHEN 'A' THEN 'info'
               WHEN '0' THEN 'fatal' WHEN '1' THEN 'fatal' WHEN '2' THEN 'fatal' WHEN '3' THEN 'error'
               WHEN '4' THEN 'warn' WHEN '5' THEN 'info' WHEN '6' THEN 'info' WHEN '7' THEN 'debug' END,
             CASE WHEN regexp_matches(${head}, '^\\s*(?:Uncaught |Unhandled |Exception in thread |Traceback \\(most recent|panic: |[\\w.$]*(?:Error|Exception)\\b)')
                  THEN 'error' END)`;
};

const levelOf = (expression: string): string => `
  CASE lower(${expression})
    WHEN 'trace' THEN 'trace' WHEN '10' THEN 'trace'
    WHEN 'debug' THEN 'debug' WHEN '20' THEN 'debug' WHEN 'verbose' THEN 'debug'
    WHEN 'info' THEN 'info' WHEN '30' THEN 'info' WHEN 'notice' THEN 'info' WHEN 'log' THEN 'info'
    WHEN 'information' THEN 'info' WHEN 'dbug' THEN 'debug'
    WHEN 'warn' THEN 'warn' WHEN 'warning' THEN 'warn' WHEN '40' THEN 'warn'
    WHEN 'error' THEN 'error' WHEN 'err' THEN 'error' WHEN '50' THEN 'error' WHEN 'severe' THEN 'error' WHEN 'fail' THEN 'error'
    WHEN 'fatal' THEN 'fatal' WHEN '60' THEN 'fatal' WHEN 'critical' THEN 'fatal' WHEN 'panic' THEN 'fatal'
    WHEN 'alert' THEN 'fatal' WHEN 'emerg' THEN 'fatal' WHEN 'crit' THEN 'fatal'
  END`;

// What a line of JSON may call its parts; the first that is there counts.
const LEVEL_KEYS = ["level", "severity", "levelname", "lvl", "log.level"];
const TRACE_KEYS = ["trace_id", "traceId", "traceID", "trace.id"];
const SPAN_KEYS = ["span_id", "spanId", "spanID", "span.id"];
const jsonPath = (key: string): string => quoted(`$."${key}"`);
const firstOf = (keys: readonly string[], at: number): string =>
  `coalesce(${keys.map((_, index) => `found[${at + index + 1}]`).join(", ")})`;

const LOGS: Table = {
  signal: "logs",
  says: "Every line that an instance, a build or an engine wrote, and every log record sent by OTLP.",
  columns: [
    column(
      "time",
      "TIMESTAMP",
      "when it was collected (UTC); lines of one source keep their order",
    ),
    ...WHOSE,
    column("level", "VARCHAR", "trace, debug, info, warn, error, fatal; empty where none is said"),
    column("trace_id", "VARCHAR", "trace that the line names"),
    column("span_id", "VARCHAR", "span that the line names"),
    column("text", "VARCHAR", "the line as it was written; JSON where it was JSON"),
  ],
  parse: (files) => {
    const keys = [...LEVEL_KEYS, ...TRACE_KEYS, ...SPAN_KEYS];
    const head = `CASE WHEN contains(text[:${LEVEL_HEAD_CHARS}], chr(27)) THEN regexp_replace(text[:${LEVEL_HEAD_CHARS}], '\\x1b\\[[0-9;]*m', '', 'g') ELSE text[:${LEVEL_HEAD_CHARS}] END`;
    return `
    SELECT make_timestamp(timeUs::BIGINT), environment, app, service, release::INTEGER, instance,
           coalesce(CASE WHEN level <> '' THEN ${levelOf("level")} END,
                    ${levelOf(firstOf(LEVEL_KEYS, 0))},
                    CASE WHEN NOT isJson THEN ${plainLevelOf("head")} END, ''),
           coalesce(nullif(traceId, ''), ${firstOf(TRACE_KEYS, LEVEL_KEYS.length)}, ''),
           coalesce(nullif(spanId, ''), ${firstOf(SPAN_KEYS, LEVEL_KEYS.length + TRACE_KEYS.length)}, ''),
           text
    FROM (SELECT *, json_extract_string(CASE WHEN isJson THEN text ELSE '{}' END, [${keys.map(jsonPath).join(", ")}]) AS found
          FROM (SELECT *, starts_with(text, '{') AND json_valid(text) AS isJson, ${head} AS head
          FROM ${readLines(files, LOG_JOURNAL)}))`;
  },
  order: "app, service, time",
  rowGroupRows: 122_880,
};

/**
 * The one definition of a request that failed. HAProxy's termination state says who ended it (S, s: the
 * instance, I: the edge itself) and when (D: while its answer was under way, which a status does not
 * tell); a tunnel (101) ends as either side likes.
 */
const failedWhere = (status: string): string => `
  CASE WHEN ${status} >= 500 THEN 1
       WHEN ${status} < 100 AND starts_with(ending, 'S') THEN 1
       WHEN ${status} <> 101 AND regexp_matches(ending, '^[SsI]D') THEN 1
       ELSE 0 END`;

/** HAProxy notes a 400 for a client that left before an answer began; nobody was sent one. */
const STATUS = `
  CASE WHEN regexp_matches(ending, '^[Cc][QCH]') AND responseMs = '-1' THEN -1
       ELSE try_cast(status AS INTEGER) END`;

/** What was no request, or broke off before it was one, has no id: it came just now. */
const NO_REQUEST = "<BADREQ>";
const NO_REQUEST_AT = `CASE WHEN method = '${NO_REQUEST}' AND requestId = '-' THEN epoch_us(now()) END`;

const named = (column: string): string => `coalesce(nullif(${column}, '${NO_REQUEST}'), '')`;

const LATENCY = `
  CASE WHEN (ends_with(pool, '.side') OR status = '101') AND try_cast(responseMs AS INTEGER) >= 0
       THEN greatest(try_cast(queueMs AS INTEGER), 0) + greatest(try_cast(connectMs AS INTEGER), 0) + try_cast(responseMs AS INTEGER)
       ELSE try_cast(totalMs AS INTEGER) END`;

/** What a client chose, as the edge writes it: with the escapes of JSON. */
const unescaped = (text: string): string => `
  CASE WHEN contains(${text}, '\\')
       THEN coalesce(json_extract_string(CASE WHEN json_valid('"' || ${text} || '"') THEN '"' || ${text} || '"' END, '$'), ${text})
       ELSE ${text} END`;

const REQUESTS: Table = {
  signal: "requests",
  says: "One row per request, as the edge saw it: also those between services of one app.",
  columns: [
    column("time", "TIMESTAMP", "when it arrived (UTC)"),
    ...WHOSE,
    column(
      "route",
      "VARCHAR",
      "host and path prefix that led to the service; `internal` between services",
    ),
    column("client", "VARCHAR", "address, cut as the environment's privacy says"),
    column("method", "VARCHAR", "GET, POST, …"),
    column("host", "VARCHAR", "host that was asked for"),
    column("path", "VARCHAR", "path without its query"),
    column("query", "VARCHAR", "query string, where the environment's privacy keeps it"),
    column("version", "VARCHAR", "HTTP/1.1, HTTP/2.0"),
    column("status", "INTEGER", "HTTP status; -1 where there was no answer"),
    column("queue_ms", "INTEGER", "waited for an instance; -1: never got one"),
    column("connect_ms", "INTEGER", "time to connect to it"),
    column("response_ms", "INTEGER", "its first byte after the request was sent"),
    column(
      "duration_ms",
      "INTEGER",
      "from the first byte of the request to the last of the answer",
    ),
    column("bytes_in", "BIGINT", "from the client"),
    column("bytes_out", "BIGINT", "to the client"),
    column("ending", "VARCHAR", "HAProxy's termination state; `----` is a normal end"),
    column("retries", "INTEGER", "how often it was tried again"),
    column("trace_id", "VARCHAR", "trace that it is part of"),
    column("span_id", "VARCHAR", "the edge's span in it"),
    column("parent_span_id", "VARCHAR", "span of the caller; empty where the edge began the trace"),
    column("user_agent", "VARCHAR", "where the environment's privacy keeps it"),
    column(
      "failed",
      "INTEGER",
      "1: answered with a 5xx, not at all, or with an answer that was broken off, by the app's doing or for want of it; a client that went away is 0",
    ),
    column(
      "url_bytes",
      "INTEGER",
      "length of path and query as they came; these are kept up to 4 KB",
    ),
    column(
      "latency_ms",
      "INTEGER",
      "how long its client waited: the whole duration; of streams and tunnels, which last as long as they like, up to the first byte of the answer",
    ),
  ],
  ofEarlier: {
    failed: failedWhere("status"),
    url_bytes: "length(path) + length(query)",
    latency_ms: "duration_ms",
  },
  parse: (files) => `
    SELECT make_timestamp(timeUs),
           CASE WHEN isApp THEN parts[1] ELSE 'platform' END,
           CASE WHEN isApp THEN parts[2] ELSE '' END,
           CASE WHEN isApp THEN parts[3] ELSE 'edge' END,
           coalesce(try_cast(regexp_extract(instance, '\\.r(\\d+)', 1) AS INTEGER), try_cast(release AS INTEGER), 0),
           CASE WHEN instance = '<NOSRV>' THEN '' ELSE instance END,
           coalesce(nullif(route, '-'), ''), client,
           ${named("method")}, ${unescaped("host")}, ${named("path")}, ${named("query")}, ${named("version")},
           ${STATUS}, try_cast(queueMs AS INTEGER), try_cast(connectMs AS INTEGER),
           try_cast(responseMs AS INTEGER), try_cast(totalMs AS INTEGER), try_cast(bytesIn AS BIGINT),
           try_cast(bytesOut AS BIGINT), ending, try_cast(retries AS INTEGER),
           CASE WHEN length(continuedTrace) = 49 THEN continuedTrace[:32] ELSE requestId END,
           requestId[17:],
           CASE WHEN length(continuedTrace) = 49 THEN continuedTrace[34:] ELSE '' END,
           ${unescaped("coalesce(userAgent, '')")}, ${failedWhere(`(${STATUS})`)}, try_cast(urlBytes AS INTEGER),
           ${LATENCY}
    FROM (SELECT *, string_split(pool, '.') AS parts, pool LIKE '%.%.%.%' AS isApp,
                 coalesce(try_cast('0x' || requestId[:16] AS BIGINT), ${NO_REQUEST_AT}) AS timeUs
          FROM ${readLines(files, REQUEST_COLUMNS, "\t")})
    WHERE timeUs IS NOT NULL`,
  redact: redactPeople,
  order: "app, service, time",
  rowGroupRows: 122_880,
};

const SPANS: Table = {
  signal: "spans",
  says: "Spans sent by OTLP. The edge's own are in `requests`.",
  columns: [
    column("time", "TIMESTAMP", "when it began (UTC)"),
    column("duration_us", "BIGINT", "how long it took, microseconds"),
    ...WHOSE,
    column("trace_id", "VARCHAR", "32 hex digits"),
    column("span_id", "VARCHAR", "16 hex digits"),
    column("parent_span_id", "VARCHAR", "empty for the first span of a trace"),
    column("name", "VARCHAR", "what was done"),
    column("kind", "VARCHAR", "internal, server, client, producer, consumer"),
    column("status", "VARCHAR", "`error`, `ok` or empty"),
    column("scope", "VARCHAR", "the instrumentation that made it"),
    column("attributes", "VARCHAR", "JSON object"),
    column(
      "events",
      "VARCHAR",
      "JSON array: exceptions and other moments; empty where there is none",
    ),
  ],
  parse: (files) => `
    SELECT make_timestamp(timeUs::BIGINT), durationUs::BIGINT, environment, app, service,
           release::INTEGER, instance, traceId, spanId, parentSpanId, name, kind,
           status, scope, attributes, events
    FROM ${readLines(files, SPAN_JOURNAL)}`,
  // A trace's spans lie together, and a file says of each group of rows which ids are in it.
  order: "trace_id, time",
  rowGroupRows: 24_576,
};

/**
 * Without what names one user, order or invitation: `/reset/3f2a…` is `/reset/*`. A part of the path
 * is such a name where it is long and has a digit, or very long.
 */
export const pageOf = (path: string): string =>
  `array_to_string(list_transform(string_split(${path}, '/'), lambda part:
     CASE WHEN length(part) > 64 OR (length(part) >= 20 AND regexp_matches(part, '[0-9]')) THEN '*'
          ELSE part END), '/')`;

const USAGE: Table = {
  signal: "usage",
  says: "What browsers reported of the pages of apps with `usage: true`; anybody can report anything.",
  columns: [
    column("time", "TIMESTAMP", "when the report arrived (UTC)"),
    ...WHOSE.slice(0, 4),
    column("kind", "VARCHAR", "view, vital, error, feedback"),
    column("page", "VARCHAR", "path of the page, without query; long ids in it are `*`"),
    column("name", "VARCHAR", "of a vital: LCP, INP, FCP, TTFB (milliseconds), CLS"),
    column("value", "DOUBLE", "of a vital; rating of a feedback, 1 to 5"),
    column("visitor", "VARCHAR", "the same for one visitor of one app on one day (UTC)"),
    column("client", "VARCHAR", "address without its last part, or less, as privacy says"),
    column("browser", "VARCHAR", "Chrome, Firefox, Safari, Edge, other"),
    column("device", "VARCHAR", "desktop, mobile"),
    column("trace_id", "VARCHAR", "trace of the request that served the page"),
    column("text", "VARCHAR", "host a view came from; message of an error; words of a feedback"),
  ],
  parse: (files) => `
    SELECT make_timestamp(timeUs::BIGINT), environment, app, service, release::INTEGER, kind,
           ${pageOf("page")}, name, try_cast(value AS DOUBLE), visitor, client, browser, device,
           traceId, text
    FROM ${readLines(files, USAGE_JOURNAL)}`,
  redact: redactPeople,
  order: "app, kind, time",
  rowGroupRows: 122_880,
};

export const TABLES: Readonly<Record<Signal, Table>> = {
  logs: LOGS,
  requests: REQUESTS,
  spans: SPANS,
  usage: USAGE,
};
