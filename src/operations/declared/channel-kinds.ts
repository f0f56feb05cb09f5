// Where alerts, telemetry and notices go, as files have it.

import type { z } from "zod";
import { invalid } from "../../kernel/error.ts";
import type { TelemetryPolicy } from "../../kernel/signal.ts";
import { CHANNEL, type ChannelSpec, channelInput } from "../../resources/channel/channel.ts";
import { EXPORT, type ExportSpec, exportInput } from "../../resources/export/export.ts";
import { NOTICE, type NoticeSpec, noticeSpec } from "../../resources/notice/notice.ts";
import {
  changedPolicy,
  type PolicyChange,
  policyChange,
  TELEMETRY,
} from "../../resources/telemetry/telemetry.ts";
import { type EnvironmentView, findEnvironment } from "../environment-view.ts";
import { declared, NAMES, sealedInput } from "./declared-kind.ts";

const channelFile = channelInput.extend({
  address: sealedInput(channelInput.shape.address).describe(
    "URL of the chat or program, or { $env: VARIABLE }, or { version } for the one that is kept.",
  ),
});

const channel = declared<z.output<typeof channelFile>, ChannelSpec>({
  kind: CHANNEL,
  names: NAMES.name,
  input: channelFile,
  action: "telemetry",
  sealed: { key: "address", absent: "refused" },
  show: ({ address: { version }, ...rest }) => ({ ...rest, address: { version } }),
  specOf: ({ name, input: { type, severities, to }, sealed }) => {
    if (type === "email" && to === undefined)
      throw invalid("channel.no_recipient", "an email channel needs `to`", {
        hint: `holdfast channel add ${name} --type email --to ops@example.com`,
      });
    return {
      type,
      severities,
      ...(to !== undefined && { to }),
      address: { secret: "address", version: sealed?.version ?? 0 },
    };
  },
});

const exportFile = exportInput.extend({
  headers: sealedInput(exportInput.shape.headers.unwrap()).describe(
    "Sent with every message: header → value, each may be { $env: VARIABLE }; or { version } for what is kept.",
  ),
});

const telemetryExport = declared<z.output<typeof exportFile>, ExportSpec>({
  kind: EXPORT,
  names: NAMES.ofEnvironment,
  input: exportFile,
  action: "telemetry",
  sealed: { key: "headers", absent: "none" },
  show: ({ headers: { version }, ...rest }) => ({ ...rest, headers: { version } }),
  specOf: ({ deps, name, input: { endpoint, signals }, sealed }) => {
    findEnvironment(deps.store, name.split("/")[0] ?? "");
    return { endpoint, signals, headers: { secret: "headers", version: sealed?.version ?? 0 } };
  },
});

/** What a file leaves out stays as it is. */
const telemetry = declared<PolicyChange, TelemetryPolicy>({
  kind: TELEMETRY,
  names: NAMES.environment,
  input: policyChange,
  action: "telemetry",
  show: (spec) => ({ ...spec }),
  kept: () => "an environment always has retention and privacy settings; set others instead",
  specOf: ({ deps, name, input, before }) => {
    const policy = changedPolicy(before, input);
    assertKept(findEnvironment(deps.store, name), policy);
    return policy;
  },
});

function assertKept({ name, rules }: EnvironmentView, { retention }: TelemetryPolicy): void {
  const longest = Object.entries(retention).find(([, { days }]) => days > rules.telemetryDays);
  if (!longest) return;
  throw invalid(
    "policy.retention",
    `${longest[0]} for ${longest[1].days} days; ${name} lets telemetry be kept for ${rules.telemetryDays} (rule telemetryDays)`,
    { hint: "an admin can change it: holdfast policy show, then holdfast policy set <file>" },
  );
}

const notice = declared<NoticeSpec, NoticeSpec>({
  kind: NOTICE,
  names: NAMES.name,
  input: noticeSpec,
  action: "steer",
  show: (spec) => spec,
  specOf: ({ input }) => input,
});

export const CHANNEL_KINDS = [telemetry, channel, telemetryExport, notice] as const;
