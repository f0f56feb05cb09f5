// What the platform counts of itself: instances as the control plane reports them, and what
// telemetry had to drop.

import type { PlatformReport } from "../../kernel/signal.ts";
import { SIGNALS } from "../../kernel/signal.ts";
import type { TelemetryStore } from "../store/telemetry-store.ts";
import type { Labels, MetricRegistry, MetricType } from "./registry.ts";

const OWNER = "platform";

export class PlatformMetrics {
  readonly #registry: MetricRegistry;
  readonly #store: TelemetryStore;
  readonly #dropped = new Map<string, { app: string; what: string; count: number }>();

  constructor(registry: MetricRegistry, store: TelemetryStore) {
    this.#registry = registry;
    this.#store = store;
  }

  /** What could not be kept; never silent. */
  drop(app: string, what: string, count: number): void {
    const key = `${app} ${what}`;
    const known = this.#dropped.get(key) ?? { app, what, count: 0 };
    this.#dropped.set(key, { app, what, count: known.count + count });
  }

  observe({ instances, engines, certificates, jobs = [] }: PlatformReport): void {
    for (const { kind, name, isReady } of engines) {
      const help = "1 where it can be used.";
      const labels = { kind, name, environment: kind === "edge" ? "" : name };
      this.#set("holdfast_engine_ready", "gauge", help, labels, Number(isReady));
    }
    for (const { host, expiresAt, isRefused = false } of certificates) {
      const help = "When it ends, seconds since the epoch.";
      const value = expiresAt / 1000;
      this.#set("holdfast_certificate_expires_seconds", "gauge", help, { host }, value);
      const refused = "1 where one was given for the host that can't be used.";
      this.#set("holdfast_certificate_refused", "gauge", refused, { host }, Number(isRefused));
    }
    for (const { environment, app, job, isFailed, isMissed } of jobs) {
      const labels = { environment, app, job_name: job };
      const failed = "1 where its last run failed.";
      this.#set("holdfast_job_failed", "gauge", failed, labels, Number(isFailed));
      const missed = "1 where it did not run when it should.";
      this.#set("holdfast_job_missed", "gauge", missed, labels, Number(isMissed));
    }
    for (const one of instances) {
      const { environment, app, service, release, instance } = one;
      const labels = { environment, app, service, release, instance };
      const set = (
        name: string,
        type: MetricType,
        help: string,
        value: number | undefined,
      ): void => {
        if (value !== undefined) this.#set(`holdfast_instance_${name}`, type, help, labels, value);
      };
      set("cpu_seconds_total", "counter", "CPU time it took.", one.cpuSeconds);
      set("cpu_limit_cores", "gauge", "Cores it may have.", one.cpuLimit);
      set("memory_bytes", "gauge", "Memory it has.", one.memoryBytes);
      set("memory_limit_bytes", "gauge", "Memory it may have.", one.memoryLimitBytes);
      set("restarts_total", "counter", "How often it ended and was started again.", one.restarts);
      set("ready", "gauge", "1 where it may get requests.", Number(one.isReady));
      set("wanted", "gauge", "1 where it should be ready.", Number(one.isWanted));
      const killed = one.memoryKilledAt && one.memoryKilledAt / 1000;
      set("memory_killed_seconds", "gauge", "When it was last ended for its memory.", killed);
      set("looping", "gauge", "1 where it ends again and again.", Number(one.isLooping));
    }
    const known = new Set(jobs.map(({ environment, app, job }) => `${environment}/${app}/${job}`));
    this.#registry.keepOnly("holdfast_job_", ({ environment, app, job_name: job }) =>
      known.has(`${environment}/${app}/${job}`),
    );
    const there = new Set(instances.map(({ instance }) => instance));
    this.#registry.keepOnly("holdfast_instance_", ({ instance }) => there.has(String(instance)));
  }

  render(lostRequests: number): string {
    const set = (
      name: string,
      type: MetricType,
      help: string,
      labels: Labels,
      value: number,
    ): void => this.#set(`holdfast_telemetry_${name}`, type, help, labels, value);
    const dropped = "What could not be kept, by app and kind.";
    for (const { app, what, count } of this.#dropped.values())
      set("dropped_total", "counter", dropped, { app, what }, count);
    for (const { owner, metric, count } of this.#registry.refused)
      set("dropped_total", "counter", dropped, { app: owner, what: "series", metric }, count);
    set("dropped_total", "counter", dropped, { app: "edge", what: "requests" }, lostRequests);
    for (const signal of SIGNALS) {
      const files = this.#store.archive.files(signal);
      const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
      const rows = files.reduce((sum, file) => sum + file.rows, 0);
      set("stored_bytes", "gauge", "Bytes in Parquet files.", { signal }, bytes);
      set("stored_rows", "gauge", "Rows in Parquet files.", { signal }, rows);
    }
    const memory = process.memoryUsage().rss;
    set("memory_bytes", "gauge", "Memory of the telemetry process.", {}, memory);
    return this.#registry.render();
  }

  #set(name: string, type: MetricType, help: string, labels: Labels, value: number): void {
    this.#registry.observe({ name, type, help, labels, value, owner: OWNER });
  }
}
