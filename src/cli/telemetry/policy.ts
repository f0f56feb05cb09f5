// How long telemetry is kept, and what of it is about people.

import { invalid } from "../../kernel/error.ts";
import { SIGNALS, type TelemetryPolicy } from "../../kernel/signal.ts";
import { listOf } from "../app/change.ts";
import { doneText } from "../app/change-options.ts";
import type { Command } from "../command.ts";
import type { Output } from "../output.ts";

const pathOf = (environment: string) => `/v1/environments/${environment}/telemetry` as const;

export const telemetryShow: Command = {
  usage: "telemetry show",
  summary: "Show retention and privacy settings.",
  examples: ["holdfast telemetry show"],
  run: async ({ client, output, environment }) => {
    const policy = await client.get(pathOf(environment));
    output.result(policy, () => render(policy, output));
    return 0;
  },
};

export const telemetrySet: Command = {
  usage: "telemetry set <pairs...>",
  summary: "Change retention and privacy settings.",
  details: `<signal>.days and <signal>.bytes for ${SIGNALS.join(", ")}; addresses: keep, cut, drop; user-agents: keep, drop; query-strings: keep, names, drop. Privacy settings apply to new data only.`,
  examples: [
    "holdfast telemetry set logs.days=30 logs.bytes=8000000000",
    "holdfast telemetry set addresses=drop query-strings=drop",
  ],
  run: async ({ client, output, environment }, [pairs]) => {
    const policy = await client.patch(pathOf(environment), changeOf(listOf(pairs)));
    output.result(policy, () => doneText(render(policy, output), policy, output));
    return 0;
  },
};

const PRIVACY: Readonly<Record<string, string>> = {
  addresses: "addresses",
  "user-agents": "userAgents",
  "query-strings": "queryStrings",
};

function changeOf(pairs: readonly string[]) {
  const retention: Record<string, Record<string, number>> = {};
  const privacy: Record<string, string> = {};
  for (const pair of pairs) {
    const [key = "", value = ""] = pair.split("=");
    const [signal = "", field = ""] = key.split(".");
    const name = PRIVACY[key];
    if (name !== undefined) privacy[name] = value;
    else if (isSetting(signal, field) && Number(value) > 0)
      retention[signal] = { ...retention[signal], [field]: Number(value) };
    else
      throw invalid("cli.bad_policy", `"${pair}" is not something that can be set`, {
        hint: "holdfast telemetry set --help",
      });
  }
  return { retention, privacy };
}

const isSetting = (signal: string, field: string): boolean =>
  SIGNALS.some((one) => one === signal) && (field === "days" || field === "bytes");

function render({ retention, privacy }: TelemetryPolicy, output: Output): string {
  const size = (bytes: number): string => `${(bytes / 1024 ** 3).toFixed(1)} GiB`;
  return output.table([
    ...Object.entries(retention).map(([signal, { days, bytes }]) => [
      signal,
      `${days} days`,
      `at most ${size(bytes)}`,
    ]),
    ["addresses", privacy.addresses],
    ["user-agents", privacy.userAgents],
    ["query-strings", privacy.queryStrings],
  ]);
}
