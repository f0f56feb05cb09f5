// What Prometheus is to read and to watch, written down: pure, and held by golden files.

import { stringify } from "yaml";
import type { RuleGroup } from "../../resources/app/alert-rules.ts";

export interface Target {
  readonly address: string;
  readonly path: string;
  readonly labels: Readonly<Record<string, string>>;
}

export interface PrometheusState {
  /** Where the telemetry process counts, and the file with the token for it. */
  readonly telemetry: { readonly address: string; readonly tokenFile: string };
  readonly hostExporter: string;
  readonly alertmanager: string | undefined;
  /** Apps' own metrics. */
  readonly apps: readonly Target[];
  readonly groups: readonly RuleGroup[];
  /** Mount point that holds the installation. */
  readonly mountPoint: string;
}

const SCRAPE = "5s";
const HOST_SCRAPE = "15s";
/** Of one app's own metrics; more is not taken. */
const SAMPLES_PER_TARGET = 10_000;

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

function config(state: PrometheusState): unknown {
  const { telemetry, hostExporter, alertmanager, mountPoint } = state;
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
        file_sd_configs: [{ files: ["apps.yml"] }],
      },
      {
        job_name: "host",
        scrape_interval: HOST_SCRAPE,
        static_configs: [{ targets: [hostExporter] }],
        metric_relabel_configs: [
          only(
            "node_(cpu_seconds|memory_Mem|filesystem_(avail|size)|load|network_|disk_|timex_(offset|maxerror)).*",
          ),
          {
            source_labels: ["mountpoint"],
            regex: mountPoint,
            target_label: "holds",
            replacement: "holdfast",
          },
        ],
      },
    ],
  };
}
