// Everything that is sent onward: which places there are says the control plane, what is sent comes
// from the store as it is loaded, and from what was counted.

import { rmSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { ExportState, ExportTarget } from "../../kernel/signal.ts";
import type { MetricRegistry } from "../metrics/registry.ts";
import { encodeRequest, type OtlpRequests, type OtlpSignal } from "../otlp/messages.ts";
import { quoted } from "../sql.ts";
import type { Row } from "../store/database.ts";
import { keepFile, readKept } from "../store/durable-file.ts";
import type { Loaded } from "../store/signal-store.ts";
import type { TelemetryStore } from "../store/telemetry-store.ts";
import { Exporter, type KnownTarget, type SendOutcome, sendTo } from "./exporter.ts";
import { encodeLogs, encodeMetrics, encodeRequests, encodeSpans } from "./otlp-encode.ts";

export interface ExportersOptions {
  readonly dir: string;
  readonly store: TelemetryStore;
  readonly registry: MetricRegistry;
  readonly now: () => number;
  readonly onProblem: (what: string, error: unknown) => void;
}

const METRICS_EVERY_MS = 30_000;
const ROWS_PER_MESSAGE = 2_000;
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
  #taking: Promise<void> = Promise.resolve();

  constructor(options: ExportersOptions) {
    this.#options = options;
    const { store, now, onProblem } = options;
    this.#began = now();
    // Known from before: nothing is missed until the control plane says who is told.
    for (const target of readKept<KnownTarget[]>(this.#targetsFile) ?? []) this.#open(target);
    for (const table of TABLES) {
      const { signals } = store;
      signals[table].onLoaded((loaded) => this.#takeAll(table, loaded));
      for (const exporter of this.#exporters.values())
        void this.#take(
          exporter,
          table,
          signals[table].loadedAfter(exporter.position(table) ?? 0),
        ).catch((error: unknown) => onProblem(`${table} could not be handed to an export`, error));
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
          fresh.setPosition(table, this.#options.store.signals[table].lastLoaded);
      }
    }
    for (const [name, exporter] of this.#exporters) {
      if (targets.some((one) => one.name === name)) continue;
      this.#exporters.delete(name);
      void exporter.close().then(() => rmSync(this.#dirOf(name), { recursive: true, force: true }));
    }
    const now = JSON.stringify(this.#known());
    if (now !== known) keepFile(this.#targetsFile, now);
  }

  /** Without what is secret. */
  #known(): readonly KnownTarget[] {
    return [...this.#exporters.values()].map(({ target: { headers: _, ...rest } }) => rest);
  }

  #open(target: KnownTarget): Exporter {
    const exporter = new Exporter(this.#dirOf(target.name), target);
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
    const outcomes: Partial<Record<OtlpSignal, SendOutcome>> = {};
    for (const signal of target.signals)
      outcomes[signal] = await sendTo(
        target,
        signal,
        await zip(encodeRequest(signal, empty[signal])),
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

  async #takeAll(table: Exported, loaded: Loaded): Promise<void> {
    for (const exporter of this.#exporters.values())
      await this.#take(exporter, table, loaded).catch((error: unknown) =>
        this.#options.onProblem(`${table} could not be handed to an export`, error),
      );
  }

  /** One after the other: a batch must not be taken twice by two at once. */
  #take(exporter: Exporter, table: Exported, loaded: Loaded): Promise<void> {
    const done = this.#taking.then(() => this.#takeRows(exporter, table, loaded));
    this.#taking = done.catch(() => undefined);
    return done;
  }

  async #takeRows(exporter: Exporter, table: Exported, { batches, rows }: Loaded): Promise<void> {
    const last = batches.at(-1) ?? 0;
    const { signal, encode } = ENCODERS[table];
    const { signals, environment } = exporter.target;
    if (!signals.includes(signal) || last <= (exporter.position(table) ?? 0)) return;
    const own = await this.#options.store.database.read(
      `SELECT *, epoch_us(time)::DOUBLE AS "timeUs" FROM (${rows}) WHERE environment = ${quoted(environment)}`,
    );
    for (let at = 0; at < own.length; at += ROWS_PER_MESSAGE) {
      const some: readonly Row[] = own.slice(at, at + ROWS_PER_MESSAGE);
      await exporter.add(signal, some.length, encode(some) as OtlpRequests[typeof signal]);
    }
    exporter.setPosition(table, last);
  }

  async #takeMetrics(): Promise<void> {
    const { registry, now, onProblem } = this.#options;
    for (const exporter of this.#exporters.values()) {
      const { signals, environment } = exporter.target;
      if (!signals.includes("metrics")) continue;
      const families = registry.families();
      const request = encodeMetrics(families, environment, this.#began, now());
      const points = families.reduce((sum, { series }) => sum + series.length, 0);
      await exporter
        .add("metrics", points, request)
        .catch((error: unknown) => onProblem("metrics could not be handed to an export", error));
    }
  }
}
