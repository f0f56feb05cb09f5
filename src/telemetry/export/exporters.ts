// Everything that is sent onward: which places there are says the control plane, what is sent comes
// from the store as it is loaded, and from what was counted.

import { mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { ExportState, ExportTarget } from "../../kernel/signal.ts";
import type { MetricRegistry } from "../metrics/registry.ts";
import { encodeRequest, type OtlpRequests, type OtlpSignal } from "../otlp/messages.ts";
import { quoted } from "../sql.ts";
import type { Row } from "../store/database.ts";
import { keepFile, readKept } from "../store/durable-file.ts";
import type { TelemetryStore } from "../store/telemetry-store.ts";
import { Exporter } from "./exporter.ts";
import { encodeLogs, encodeMetrics, encodeRequests, encodeSpans } from "./otlp-encode.ts";
import { type SendOutcome, sendTo } from "./send.ts";

export interface ExportersOptions {
  readonly dir: string;
  readonly store: TelemetryStore;
  readonly registry: MetricRegistry;
  readonly now: () => number;
  readonly onProblem: (what: string, error: unknown) => void;
  /** Records that did not get into what waits, or were refused. */
  readonly onLost: (name: string, signal: OtlpSignal, records: number) => void;
}

const METRICS_EVERY_MS = 30_000;
/** Begins what no export can be named. */
const GONE = "~";
const ROWS_PER_MESSAGE = 2_000;
const CHARS_PER_MESSAGE = 1024 ** 2;
const zip = promisify(gzip);

const ENCODERS = {
  logs: { signal: "logs", encode: encodeLogs },
  spans: { signal: "traces", encode: encodeSpans },
  requests: { signal: "traces", encode: encodeRequests },
} as const;
type Exported = keyof typeof ENCODERS;
const TABLES = Object.keys(ENCODERS) as readonly Exported[];

export class Exporters {
  readonly #options: ExportersOptions;
  readonly #exporters = new Map<string, Exporter>();
  readonly #began: number;
  readonly #timer: NodeJS.Timeout;
  readonly #taking: Record<Exported, Promise<void>> = {
    logs: Promise.resolve(),
    spans: Promise.resolve(),
    requests: Promise.resolve(),
  };
  #removed = 0;

  constructor(options: ExportersOptions) {
    this.#options = options;
    const { store, now } = options;
    this.#began = now();
    const dir = join(options.dir, "export");
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(dir))
      if (name.startsWith(GONE)) rmSync(join(dir, name), { recursive: true, force: true });
    // Known from before: nothing is missed until the control plane says who is told.
    for (const target of readKept<ExportTarget[]>(this.#targetsFile) ?? []) this.#open(target);
    for (const table of TABLES) {
      store.signals[table].onLoaded(() => this.#takeAll(table));
      void this.#takeAll(table);
    }
    this.#timer = setInterval(() => void this.#takeMetrics(), METRICS_EVERY_MS);
  }

  /** What there is to be: new ones begin with what comes from now on, others end. */
  configure(targets: readonly ExportTarget[]): void {
    const known = JSON.stringify(this.#known());
    for (const target of targets) {
      const exporter = this.#exporters.get(target.name);
      if (exporter) exporter.target = target;
      else {
        const fresh = this.#open(target);
        for (const table of TABLES)
          fresh.setPosition(table, this.#options.store.signals[table].lastLoaded, true);
      }
    }
    for (const [name, exporter] of this.#exporters) {
      if (targets.some((one) => one.name === name)) continue;
      this.#exporters.delete(name);
      // At once: one of the same name that is added next begins with nothing.
      const gone = join(this.#options.dir, "export", `${GONE}${Date.now()}-${this.#removed++}`);
      renameSync(this.#dirOf(name), gone);
      void exporter.close().finally(() => rmSync(gone, { recursive: true, force: true }));
    }
    const now = JSON.stringify(this.#known());
    if (now !== known) keepFile(this.#targetsFile, now);
  }

  /** Without what is secret. */
  #known(): readonly ExportTarget[] {
    return [...this.#exporters.values()].map(({ target: { headers: _, ...rest } }) => rest);
  }

  #open(target: ExportTarget): Exporter {
    const exporter = new Exporter(this.#dirOf(target.name), target, (signal, records) =>
      this.#options.onLost(target.name, signal, records),
    );
    this.#exporters.set(target.name, exporter);
    return exporter;
  }

  get #targetsFile(): string {
    return join(this.#options.dir, "export", "targets.json");
  }

  states(): Readonly<Record<string, ExportState>> {
    return Object.fromEntries([...this.#exporters].map(([name, one]) => [name, one.state()]));
  }

  /** An empty message of each signal, sent once. */
  async test(target: ExportTarget): Promise<Readonly<Partial<Record<OtlpSignal, SendOutcome>>>> {
    const empty: OtlpRequests = {
      traces: { resourceSpans: [] },
      logs: { resourceLogs: [] },
      metrics: { resourceMetrics: [] },
    };
    const outcomes = Object.fromEntries(
      await Promise.all(
        target.signals.map(async (signal) => {
          const body = await zip(encodeRequest(signal, empty[signal]));
          return [signal, await sendTo(target, signal, body)] as const;
        }),
      ),
    );
    return outcomes;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all([...this.#exporters.values()].map((one) => one.close()));
  }

  #dirOf(name: string): string {
    return join(this.#options.dir, "export", name.replace("/", "."));
  }

  /**
   * What was loaded since the last time; also what could not be taken in then. One after the other: a
   * batch must not be taken twice by two at once.
   */
  #takeAll(table: Exported): Promise<void> {
    this.#taking[table] = this.#taking[table].then(async () => {
      for (const exporter of this.#exporters.values())
        await this.#take(exporter, table).catch((error: unknown) =>
          this.#options.onProblem(`${table} could not be handed to an export`, error),
        );
    });
    return this.#taking[table];
  }

  async #take(exporter: Exporter, table: Exported): Promise<void> {
    const { signal, encode } = ENCODERS[table];
    const { signals, environment } = exporter.target;
    const { store } = this.#options;
    const { batches, rows } = store.signals[table].loadedAfter(exporter.position(table));
    const last = batches.at(-1);
    if (last === undefined || !signals.includes(signal)) return;
    const own = await store.database.read(
      `SELECT *, epoch_us(time)::DOUBLE AS "timeUs" FROM (${rows}) WHERE environment = ${quoted(environment)}`,
    );
    for (const some of messagesOf(own))
      await exporter.add(signal, some.length, encode(some) as OtlpRequests[typeof signal]);
    exporter.setPosition(table, last, own.length > 0);
  }

  async #takeMetrics(): Promise<void> {
    const { registry, now, onProblem } = this.#options;
    for (const exporter of this.#exporters.values()) {
      const { signals, environment } = exporter.target;
      if (!signals.includes("metrics")) continue;
      const families = registry.families();
      const { points, request } = encodeMetrics(families, environment, this.#began, now());
      if (points === 0) continue;
      await exporter
        .add("metrics", points, request)
        .catch((error: unknown) => onProblem("metrics could not be handed to an export", error));
    }
  }
}

/** So many rows that a message stays within what receivers take. */
function messagesOf(rows: readonly Row[]): Row[][] {
  const messages: Row[][] = [];
  let chars = Number.POSITIVE_INFINITY;
  for (const row of rows) {
    const length = String(row["text"] ?? "").length + String(row["attributes"] ?? "").length;
    const last = messages.at(-1);
    if (!last || last.length >= ROWS_PER_MESSAGE || chars + length > CHARS_PER_MESSAGE) {
      messages.push([row]);
      chars = length;
    } else {
      last.push(row);
      chars += length;
    }
  }
  return messages;
}
