// A channel is where alerts go: a mailbox, a chat, somebody's own program. Where it leads is sealed
// like a secret: who knows the address of a chat may write there.

import { z } from "zod";
import { defineKind, type SpecOf, sealed } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";
import { MONITORING_KINDS } from "../engine/engine.ts";

export const CHANNEL_TYPES = [
  "email",
  "slack",
  "discord",
  "teams",
  "ntfy",
  "webhook",
  "alertmanager",
] as const;
export type ChannelType = (typeof CHANNEL_TYPES)[number];

export const SEVERITIES = ["page", "ticket"] as const;
export type Severity = (typeof SEVERITIES)[number];

export const channelInput = z.strictObject({
  type: z.enum(CHANNEL_TYPES),
  severities: z
    .array(z.enum(SEVERITIES))
    .min(1)
    .default([...SEVERITIES]),
  /** E-mail: who gets it. */
  to: z.email().optional(),
  /** URL of the chat or program; for e-mail that of the server: smtp://user:password@host:587. */
  address: z.url().max(2_000),
});

const channelSpec = z.strictObject({
  type: z.enum(CHANNEL_TYPES),
  severities: z.array(z.enum(SEVERITIES)),
  to: z.string().exactOptional(),
  address: sealed("address").describe("Version of the sealed address."),
});

export type ChannelSpec = SpecOf<typeof channelSpec>;

export const CHANNEL = defineKind<ChannelSpec>({
  name: "channel",
  summary: "A notification channel: mailbox, chat or webhook.",
  scope: "installation",
  spec: channelSpec,
  // What watches is told of what there is to watch, and whom to tell.
  wakes: MONITORING_KINDS.map((kind) => ({ kind })),
});

export type Channel = Resource<ChannelSpec, never>;

/** One alert, in words that every channel can show. */
export interface AlertNotice {
  readonly state: "firing" | "resolved";
  readonly alert: string;
  readonly severity: string;
  readonly summary: string;
  readonly runbook: string;
  readonly query: string;
  readonly labels: Readonly<Record<string, string>>;
  /** ms since the epoch */
  readonly since: number;
  readonly release?: number;
  readonly afterDeployMs?: number;
  /** `GET /checkout: 37 of 40 failed` */
  readonly route?: string;
  readonly broken?: string;
  /** Where its runbook can be opened, and what that says to do first. */
  readonly runbookUrl?: string;
  readonly firstStep?: string;
}

export interface Delivery {
  readonly type: ChannelType;
  readonly to?: string | undefined;
  readonly address: string;
  /** What signs, for `webhook`. */
  readonly signingKey: string;
  /** The same for every try of one delivery. */
  readonly id: string;
  /** first: wakes somebody. update: of what was told. end: nothing of it fires any more. */
  readonly kind: "first" | "update" | "end";
  readonly notices: readonly AlertNotice[];
  /** Head of the audit chain: whoever keeps the message can prove later that nothing was changed. */
  readonly anchor?: string;
  /** What Alertmanager sent, for `alertmanager`. */
  readonly raw: unknown;
}
