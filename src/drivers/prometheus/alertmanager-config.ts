// Whom Alertmanager tells: pure, and held by golden files. It groups, silences and repeats; each
// channel is delivered by the control plane, which knows its secrets. What could not be delivered is
// refused there, and Alertmanager tries again.

import { stringify } from "yaml";

export interface AlertmanagerState {
  readonly channels: readonly { readonly name: string; readonly severities: readonly string[] }[];
  /** Store of an environment → apps that need it: while it is down, what they show comes from there. */
  readonly stores: readonly {
    readonly environment: string;
    readonly kind: string;
    readonly apps: readonly string[];
  }[];
  /** Base of the address that delivers; the channel's name follows. */
  readonly deliverUrl: string;
  readonly tokenFile: string;
}

const NOBODY = "nobody";

export function renderAlertmanager(state: AlertmanagerState): Readonly<Record<string, string>> {
  const { channels, deliverUrl, tokenFile } = state;
  const config = {
    route: {
      receiver: NOBODY,
      // One cause of one app, store or host, one notification, whatever of it fires.
      group_by: ["environment", "app", "cause", "kind", "host"],
      group_wait: "5s",
      // What joins a group is an update.
      group_interval: "1m",
      // Who delivers knows what was told: so nothing that began while it was held back is lost.
      repeat_interval: "5m",
      // By severity: what pages does not wait for the turn of what does not.
      routes: channels.flatMap(({ name, severities }) =>
        severities.map((severity) => ({
          receiver: name,
          continue: true,
          matchers: [`severity="${severity}"`],
        })),
      ),
    },
    inhibit_rules: [...INHIBITIONS, ...state.stores.map(inhibitedByStore)],
    receivers: [
      { name: NOBODY },
      ...channels.map(({ name }) => ({
        name,
        webhook_configs: [
          {
            url: `${deliverUrl}/${name}/deliver`,
            send_resolved: true,
            http_config: { authorization: { credentials_file: tokenFile } },
          },
        ],
      })),
    ],
  };
  const note = "# Written by Holdfast: every change here is overwritten.\n";
  return { "alertmanager.yml": note + stringify(config, { lineWidth: 0 }) };
}

const because = (source: string[], target: string[], ...equal: string[]) => ({
  source_matchers: source,
  target_matchers: target,
  ...(equal.length > 0 && { equal }),
});

const OF_SERVICE = ["environment", "app", "service"];
/** What users feel, and instances that are not ready because of what they need. */
const FELT = "HighErrorRate|SlowResponses|ErrorBudgetBurn|InstanceDown";
const named = (names: string): string => `alertname=~"${names}"`;

/** What explains the rest is told, the rest is not. */
const INHIBITIONS = [
  because([named("EdgeDown")], [named(FELT)]),
  because([named("EdgeDown")], [named("CountingDown"), 'job="edge"']),
  because([named("CrashLoop")], [named("InstanceDown")], ...OF_SERVICE, "release"),
  because([named(FELT), 'severity="page"'], [named(FELT), 'severity="ticket"'], ...OF_SERVICE),
  ...[
    ["1h", "6h|3d"],
    ["6h", "3d"],
  ].map(([fast, slow]) =>
    because(
      [named("ErrorBudgetBurn"), `window="${fast}"`],
      [named("ErrorBudgetBurn"), `window=~"${slow}"`],
      ...OF_SERVICE,
      "objective",
    ),
  ),
  because([named("StoreDown"), 'kind="database"'], [named("ConnectionsNearLimit")], "environment"),
  ...[
    ["database", "postgres"],
    ["cache", "redis"],
  ].map(([kind, job]) =>
    because(
      [named("StoreDown"), `kind="${kind}"`],
      [named("CountingDown"), `job="${job}"`],
      "environment",
    ),
  ),
  because([named("TelemetryDown")], [named("CountingDown|TelemetryLoss")]),
  because([named("DiskFull")], [named("DiskFilling")], "mountpoint"),
  because([named("DiskFull")], [named("TelemetryLoss")]),
  because([named("CertificateEnding")], [named("CertificateNearExpiry")], "host"),
];

const inhibitedByStore = ({ environment, kind, apps }: AlertmanagerState["stores"][number]) =>
  because(
    [named("StoreDown"), `environment="${environment}"`, `kind="${kind}"`],
    [
      `environment="${environment}"`,
      `app=~"${apps.join("|")}"`,
      named(`${FELT}|CrashLoop|JobFailed|JobMissed|WorkerBacklog`),
    ],
  );
