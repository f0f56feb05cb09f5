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
      // One app, one notification, whatever of it fires; the platform has its own.
      group_by: ["environment", "app"],
      group_wait: "5s",
      // What joins a group is an update.
      group_interval: "1m",
      repeat_interval: "4h",
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

const OF_APP = ["environment", "app"];
const OF_SERVICE = [...OF_APP, "service"];
const FELT = 'cause=~"impact|instances"';

/** What explains the rest is told, the rest is not. */
const INHIBITIONS = [
  because(['alertname="EdgeDown"'], [FELT]),
  because(['alertname="EdgeDown"'], ['alertname="CountingDown"', 'job="edge"']),
  because(['alertname="CrashLoop"'], ['alertname="InstanceDown"'], ...OF_SERVICE),
  because(['severity="page"', FELT], ['severity="ticket"', FELT, 'app!=""'], ...OF_APP),
  ...[
    ["1h", "6h|3d"],
    ["6h", "3d"],
  ].map(([fast, slow]) =>
    because(
      ['alertname="ErrorBudgetBurn"', `window="${fast}"`],
      ['alertname="ErrorBudgetBurn"', `window=~"${slow}"`],
      ...OF_SERVICE,
      "objective",
    ),
  ),
  because(
    ['alertname="StoreDown"'],
    ['alertname=~"ConnectionsNearLimit|CountingDown"'],
    "environment",
  ),
  because(['alertname="TelemetryDown"'], ['alertname=~"CountingDown|TelemetryLoss"']),
  because(['alertname="DiskFull"'], ['alertname=~"DiskFilling|TelemetryLoss"']),
  because(['alertname="CertificateEnding"'], ['alertname="CertificateNearExpiry"'], "host"),
];

const inhibitedByStore = ({ environment, kind, apps }: AlertmanagerState["stores"][number]) =>
  because(
    ['alertname="StoreDown"', `environment="${environment}"`, `kind="${kind}"`],
    [
      `environment="${environment}"`,
      `app=~"${apps.join("|")}"`,
      'cause=~"impact|instances|job|backlog"',
    ],
  );
