// What Prometheus is to read and to watch, written down: pure, and held by golden files.

import { stringify } from "yaml";
import { RESERVED_METRICS } from "../../kernel/signal.ts";
import type { RuleGroup } from "../../resources/app/alert-rules.ts";

export interface Target {
  readonly address: string;
  readonly path: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** The exporter of an environment's store. */
export interface StoreTarget {
  readonly job: "postgres" | "redis";
  readonly environment: string;
  readonly address: string;
}

export interface PrometheusState {
  /** Where the telemetry process counts, and the file with the token for it. */
  readonly telemetry: { readonly address: string; readonly tokenFile: string };
  readonly hostExporter: string;
  /** Where HAProxy's own exporter answers. */
  readonly edge: string;
  readonly stores: readonly StoreTarget[];
  readonly alertmanager: string | undefined;
  /** Apps' own metrics. */
  readonly apps: readonly Target[];
  readonly groups: readonly RuleGroup[];
  /** Mount points that hold the installation, its telemetry and its stores. */
  readonly mountPoints: readonly string[];
}

const SCRAPE = "5s";
const HOST_SCRAPE = "15s";
/** Of what exporters say, what somebody asks: a series costs memory for as long as it is kept. */
const KEPT = {
  host: "node_(cpu_seconds|memory_Mem|filesystem_(avail|size)|load|network_|disk_|timex_(offset|maxerror)).*",
  postgres:
    "pg_(up|exporter_last_scrape_error|stat_database_.*|stat_activity_.*|stat_bgwriter_.*|database_size_bytes|locks_count|settings_max_connections)",
  edge: "haproxy_(process_(max|current)_.*|process_idle_time_percent|(frontend|backend)_(status|(current|limit|max)_sessions|sessions_total|current_queue|http_(requests|responses)_total|bytes_(in|out)_total|.*_errors_total|.*_warnings_total|requests_denied_total|active_servers|.*_time_average_seconds))",
  redis:
    "redis_(up|uptime_in_seconds|connected_clients|blocked_clients|config_max.*|memory_.*|commands_(processed|duration_seconds)_total|commands_total|connections_received_total|rejected_connections_total|(evicted|expired)_keys_total|keyspace_.*_total|db_keys|aof_.*|rdb_.*)",
} as const;
/** Of one app's own metrics; more is not taken. */
const SAMPLES_PER_TARGET = 10_000;

/** Pools are named production.storefront.web.a. */
const POOL_LABELS = ["environment", "app", "service", "slot"].map((target_label, i) => ({
  source_labels: ["proxy"],
  regex: "([^.]+)\\.([^.]+)\\.([^.]+)\\.([ab])",
  target_label,
  replacement: `$${i + 1}`,
}));

const NOTE = "# Written by Holdfast: every change here is overwritten.\n";
const text = (value: unknown): string => NOTE + stringify(value, { lineWidth: 0 });

/** File name → content, in Prometheus' folder. */
export function renderPrometheus(state: PrometheusState): Readonly<Record<string, string>> {
  return {
    "prometheus.yml": text(config(state)),
    "rules.yml": text({ groups: state.groups }),
    "apps.yml": text(
      state.apps.map(({ address, path, labels }) => ({
        targets: [address],
        labels: { __metrics_path__: path, ...labels },
      })),
    ),
  };
}

const literal = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");

function config(state: PrometheusState): unknown {
  const { telemetry, hostExporter, alertmanager, mountPoints, edge, stores } = state;
  const only = (regex: string) => ({ source_labels: ["__name__"], regex, action: "keep" });
  return {
    global: { scrape_interval: SCRAPE, scrape_timeout: SCRAPE, evaluation_interval: SCRAPE },
    rule_files: ["rules.yml"],
    ...(alertmanager !== undefined && {
      alerting: { alertmanagers: [{ static_configs: [{ targets: [alertmanager] }] }] },
    }),
    scrape_configs: [
      {
        job_name: "telemetry",
        honor_labels: true,
        authorization: { credentials_file: telemetry.tokenFile },
        static_configs: [{ targets: [telemetry.address] }],
      },
      {
        job_name: "apps",
        sample_limit: SAMPLES_PER_TARGET,
        metric_relabel_configs: [
          { source_labels: ["__name__"], regex: RESERVED_METRICS, action: "drop" },
        ],
        file_sd_configs: [{ files: ["apps.yml"] }],
      },
      {
        job_name: "host",
        scrape_interval: HOST_SCRAPE,
        static_configs: [{ targets: [hostExporter] }],
        metric_relabel_configs: [
          only(KEPT.host),
          {
            source_labels: ["mountpoint"],
            regex: mountPoints.map(literal).join("|"),
            target_label: "holds",
            replacement: "holdfast",
          },
        ],
      },
      {
        job_name: "edge",
        scrape_interval: HOST_SCRAPE,
        params: { scope: ["global", "frontend", "backend"] },
        static_configs: [{ targets: [edge] }],
        metric_relabel_configs: [only(KEPT.edge), ...POOL_LABELS],
      },
      ...(["postgres", "redis"] as const).map((job) => ({
        job_name: job,
        scrape_interval: HOST_SCRAPE,
        static_configs: stores
          .filter((store) => store.job === job)
          .map(({ address, environment }) => ({ targets: [address], labels: { environment } })),
        metric_relabel_configs: [only(KEPT[job])],
      })),
    ],
  };
}
