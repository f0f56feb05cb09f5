// Whom Alertmanager tells: pure, and held by golden files. It groups, silences and repeats; each
// channel is delivered by the control plane, which knows its secrets. What could not be delivered is
// refused there, and Alertmanager tries again.

import { stringify } from "yaml";

export interface AlertmanagerState {
  readonly channels: readonly { readonly name: string; readonly severities: readonly string[] }[];
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
      group_by: ["environment", "app", "service"],
      group_wait: "5s",
      // One that joins a group is told of soon too.
      group_interval: "15s",
      repeat_interval: "4h",
      routes: channels.map(({ name, severities }) => ({
        receiver: name,
        continue: true,
        matchers: [`severity=~"${severities.join("|")}"`],
      })),
    },
    // What explains the rest silences it.
    inhibit_rules: [
      { source_matchers: ['alertname="EdgeDown"'], target_matchers: ['alertname="HighErrorRate"'] },
      {
        source_matchers: ['alertname="CrashLoop"'],
        target_matchers: ['alertname="InstanceDown"'],
        equal: ["environment", "app", "service"],
      },
    ],
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
