// What arrives by OTLP becomes rows: whose they are says the sender's token. An answer is given once
// the rows are on disk; a sender that outruns its share is told to come back later, before anything
// of its message was taken.

import { invalid, transient } from "../../kernel/error.ts";
import { clean, logLine } from "../log-journal.ts";
import { SEPARATOR } from "../store/journal.ts";
import {
  decodeRequest,
  type Encoding,
  hexId,
  type LogRecord,
  type LogsRequest,
  type MetricsRequest,
  microseconds,
  type OtlpSignal,
  plainObject,
  plainValue,
  type Resource,
  type Span,
  type TraceRequest,
} from "./messages.ts";
import { findSender, type Sender } from "./sender.ts";

/** Of a message that was taken: what of it was not. */
export interface Refused {
  readonly count: number;
  readonly why: string;
}

export interface OtlpIntakeOptions {
  readonly key: Buffer;
  readonly now: () => number;
  readonly appendSpans: (lines: string) => Promise<void>;
  readonly appendLogs: (lines: string) => Promise<void>;
  /** Number of points that were not taken. */
  readonly takeMetrics: (sender: Sender, request: MetricsRequest) => number;
  readonly onRefused: (sender: Sender, signal: OtlpSignal, why: string) => void;
}

/** What one app may send in a second, on average over ten. */
const SHARE_BYTES_PER_S = 8 * 1024 ** 2;
const BURST_S = 10;
/** A clock that is further off than this is not believed. */
const SKEW_MAX_US = 10 * 60_000_000;
/** Older than this is no delay, but a clock that is wrong. */
const DELAY_MAX_US = 24 * 3_600_000_000;
const ATTRIBUTES_MAX_CHARS = 32 * 1024;
/** As long as lines of logs. */
const TEXT_MAX_CHARS = 256 * 1024;
const NAME_MAX_CHARS = 500;
const KINDS = ["", "internal", "server", "client", "producer", "consumer"];

interface Share {
  left: number;
  at: number;
}

export class OtlpIntake {
  readonly #options: OtlpIntakeOptions;
  readonly #shares = new Map<string, Share>();

  constructor(options: OtlpIntakeOptions) {
    this.#options = options;
  }

  /** @throws otlp.unauthorized */
  senderOf(authorization: string | undefined): Sender {
    const sender = findSender(authorization, this.#options.key);
    if (sender) return sender;
    throw invalid("otlp.unauthorized", "this token is not one of an instance", {
      hint: "send OTEL_EXPORTER_OTLP_HEADERS as the instance got it",
    });
  }

  /**
   * Takes a message; resolves once it is on disk, with what of it was refused.
   *
   * @throws otlp.malformed, otlp.too_fast (with when to come back)
   */
  async take(
    sender: Sender,
    signal: OtlpSignal,
    encoding: Encoding,
    body: Uint8Array,
  ): Promise<Refused | undefined> {
    this.#spend(sender, signal, body.length);
    if (signal === "traces") {
      const request = decodeRequest("traces", encoding, body);
      const all = this.#spanLines(sender, request, encoding);
      const lines = all.filter((line) => line !== "");
      if (lines.length > 0) await this.#options.appendSpans(lines.join(""));
      const count = all.length - lines.length;
      if (count === 0) return undefined;
      this.#options.onRefused(sender, signal, NO_ID);
      return { count, why: `${count} of ${all.length} spans refused: ${NO_ID}` };
    }
    if (signal === "logs") {
      const lines = this.#logLines(sender, decodeRequest("logs", encoding, body), encoding);
      if (lines !== "") await this.#options.appendLogs(lines);
    } else {
      const count = this.#options.takeMetrics(sender, decodeRequest("metrics", encoding, body));
      if (count > 0) return { count, why: `${count} points refused: ${NOT_TAKEN}` };
    }
    return undefined;
  }

  #spend(sender: Sender, signal: OtlpSignal, bytes: number): void {
    const now = this.#options.now();
    const app = `${sender.environment}/${sender.app}`;
    const share = this.#shares.get(app) ?? { left: SHARE_BYTES_PER_S * BURST_S, at: now };
    const earned = ((now - share.at) / 1000) * SHARE_BYTES_PER_S;
    const left = Math.min(SHARE_BYTES_PER_S * BURST_S, share.left + earned) - bytes;
    this.#shares.set(app, { left: Math.max(left, 0), at: now });
    if (left >= 0) return;
    this.#options.onRefused(sender, signal, "sent faster than an app may");
    throw transient("otlp.too_fast", `${app} sends more than ${SHARE_BYTES_PER_S} bytes a second`, {
      hint: "sample, or send less with each record",
    });
  }

  /** One for each span; empty where it is refused. */
  #spanLines(
    sender: Sender,
    { resourceSpans = [] }: TraceRequest,
    encoding: Encoding,
  ): readonly string[] {
    const lines: string[] = [];
    for (const { resource, scopeSpans = [] } of resourceSpans) {
      const own = ownAttributes(resource, sender);
      for (const { scope, spans = [] } of scopeSpans)
        for (const span of spans)
          lines.push(this.#spanLine(sender, span, scope?.name ?? "", own, encoding));
    }
    return lines;
  }

  #spanLine(
    sender: Sender,
    span: Span,
    scope: string,
    own: Record<string, unknown>,
    encoding: Encoding,
  ): string {
    const traceId = hexId(span.traceId, encoding, 16);
    const spanId = hexId(span.spanId, encoding, 8);
    if (isNoId(traceId) || isNoId(spanId)) return "";
    const said = microseconds(span.startTimeUnixNano);
    const begin = this.#plausible(said);
    const took = microseconds(span.endTimeUnixNano) - microseconds(span.startTimeUnixNano);
    const attributes = { ...own, ...plainObject(span.attributes) };
    const { code, message } = span.status ?? {};
    if (message) attributes["status.message"] = message;
    // Its clock is far off: it is shown when it came, and that it was moved.
    if (begin !== said) attributes["holdfast.clock"] = `said ${clockText(said)}`;
    const events = (span.events ?? []).map(({ name, timeUnixNano, attributes: more }) => ({
      name,
      atUs: microseconds(timeUnixNano) - microseconds(span.startTimeUnixNano),
      ...plainObject(more),
    }));
    return `${[
      begin,
      Math.max(0, took),
      ...whose(sender),
      traceId,
      spanId,
      hexId(span.parentSpanId, encoding, 8),
      clean((span.name ?? "").slice(0, NAME_MAX_CHARS)),
      KINDS[span.kind ?? 0] ?? "",
      code === ERROR ? "error" : code === OK ? "ok" : "",
      clean(scope),
      bounded(attributes),
      events.length === 0 ? "" : boundedList(events),
    ].join(SEPARATOR)}\n`;
  }

  #logLines(sender: Sender, { resourceLogs = [] }: LogsRequest, encoding: Encoding): string {
    let lines = "";
    for (const { resource, scopeLogs = [] } of resourceLogs) {
      const own = ownAttributes(resource, sender);
      // In the order in which they were sent, also where a clock counts in milliseconds.
      let moment = 0;
      let same = 0;
      for (const { logRecords = [] } of scopeLogs)
        for (const record of logRecords) {
          const time =
            microseconds(record.timeUnixNano) || microseconds(record.observedTimeUnixNano);
          same = time === moment ? same + 1 : 0;
          moment = time;
          const at = Math.min(this.#plausible(time), this.#options.now() * 1000) + same;
          lines += this.#logLine(sender, record, at, own, encoding);
        }
    }
    return lines;
  }

  #logLine(
    sender: Sender,
    record: LogRecord,
    timeUs: number,
    own: Record<string, unknown>,
    encoding: Encoding,
  ): string {
    const { environment, app, service, release, instance } = sender;
    const level = levelOf(record);
    const fields = { ...own, ...plainObject(record.attributes) };
    const body = plainValue(record.body);
    const isPlain = Object.keys(fields).length === 0 && typeof body === "string";
    const text = isPlain ? cutText(body) : lineOf(level, body, fields);
    return logLine(
      {
        environment,
        app,
        service,
        release,
        instance,
        level: clean(level),
        traceId: hexId(record.traceId, encoding, 16),
        spanId: hexId(record.spanId, encoding, 8),
      },
      timeUs,
      text,
    );
  }

  /** A clock that is far off would hide what it says in hours that nobody asks for. */
  #plausible(timeUs: number): number {
    const nowUs = this.#options.now() * 1000;
    return timeUs > nowUs + SKEW_MAX_US || timeUs < nowUs - DELAY_MAX_US ? nowUs : timeUs;
  }
}

const NOT_TAKEN =
  "a metric without a name, a name that is the platform's, or more series than an app may have";
const NO_ID = "the id of a trace or span is missing, malformed or all zeros";

/** W3C Trace Context: ids of zeros are none. */
const isNoId = (id: string): boolean => id === "" || /^0+$/.test(id);

const clockText = (us: number): string => {
  const date = new Date(us / 1_000);
  return Number.isNaN(date.getTime()) ? String(us) : date.toISOString();
};

const whose = ({ environment, app, service, release, instance }: Sender): (string | number)[] => [
  environment,
  app,
  service,
  release,
  instance,
];

// What the token says already is not kept with each record.
const KNOWN = /^(service\.|deployment\.environment|telemetry\.sdk\.|process\.|host\.|os\.)/;

function ownAttributes(resource: Resource | undefined, sender: Sender): Record<string, unknown> {
  const all = plainObject(resource?.attributes);
  const kept = Object.entries(all).filter(([key]) => !KNOWN.test(key));
  const name = all["service.name"];
  const isOther = typeof name === "string" && name !== sender.service;
  return { ...Object.fromEntries(kept), ...(isOther && { "service.name": name }) };
}

const cutText = (text: string): string =>
  text.length <= TEXT_MAX_CHARS
    ? text
    : `${text.slice(0, TEXT_MAX_CHARS)}… (cut: ${text.length} characters in all)`;

/** A line of JSON; of one that is too long its message, as far as there is room. */
function lineOf(level: string, message: unknown, fields: Record<string, unknown>): string {
  // What a field is called must not hide what was said.
  const others = Object.entries(fields).map(([key, value]) =>
    key === "level" || key === "message" ? [`attributes.${key}`, value] : [key, value],
  );
  const line = { level: level || undefined, message, ...Object.fromEntries(others) };
  const text = clean(JSON.stringify(line));
  if (text.length <= TEXT_MAX_CHARS) return text;
  const said = typeof message === "string" ? message : JSON.stringify(message);
  return clean(
    JSON.stringify({
      level: level || undefined,
      message: said.slice(0, TEXT_MAX_CHARS / 2),
      "holdfast.cut": `${text.length} characters in all`,
    }),
  );
}

function bounded(value: unknown): string {
  const text = clean(JSON.stringify(value));
  return text.length <= ATTRIBUTES_MAX_CHARS
    ? text
    : JSON.stringify({ "holdfast.cut": text.slice(0, ATTRIBUTES_MAX_CHARS / 2) });
}

/** As many as there is room for, with shorter texts where they are long: a stack is cut, not what it is of. */
function boundedList(events: readonly Readonly<Record<string, unknown>>[]): string {
  const shortened = (chars: number) =>
    events.map((event) =>
      Object.fromEntries(
        Object.entries(event).map(([key, value]) => {
          const isLong = typeof value === "string" && value.length > chars;
          return [
            key,
            isLong ? `${value.slice(0, chars)}… (cut: ${value.length} characters)` : value,
          ];
        }),
      ),
    );
  for (const chars of [
    ATTRIBUTES_MAX_CHARS / 4,
    ATTRIBUTES_MAX_CHARS / 16,
    ATTRIBUTES_MAX_CHARS / 64,
  ]) {
    const text = clean(JSON.stringify(shortened(chars)));
    if (text.length <= ATTRIBUTES_MAX_CHARS) return text;
  }
  const kept: string[] = [];
  let left = ATTRIBUTES_MAX_CHARS;
  for (const event of shortened(ATTRIBUTES_MAX_CHARS / 64)) {
    const text = clean(JSON.stringify(event));
    left -= text.length + 1;
    if (left < 0) break;
    kept.push(text);
  }
  return `[${kept.join(",")}]`;
}

const ERROR = 2;
const OK = 1;
const SEVERITIES = ["trace", "debug", "info", "warn", "error", "fatal"];

const KNOWN_LEVEL = /^(trace|debug|info(rmation)?|notice|warn(ing)?|err(or)?|crit(ical)?|fatal)$/i;

/** The severity text where it is a known level; otherwise the number (Go's slog sends `ERROR+2`, 19). */
function levelOf({ severityText: text = "", severityNumber }: LogRecord): string {
  return KNOWN_LEVEL.test(text) ? text : severityText(severityNumber) || text;
}

/** Four numbers to each. */
const severityText = (number: number | undefined): string =>
  SEVERITIES[Math.ceil((number ?? 0) / 4) - 1] ?? "";
