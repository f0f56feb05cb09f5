// What channels need from the world: a vault for their addresses, and a way to each.

import type { Redacted } from "../../kernel/redacted.ts";
import type { Delivery } from "./channel.ts";

/** Addresses of channels, sealed. */
export interface ChannelSecrets {
  /** Returns its version. */
  add(channel: string, address: Redacted): number;
  read(channel: string, version: number): Redacted;
  /** What signs its deliveries, as Standard Webhooks writes it; made at the first call. */
  signingKey(channel: string): string;
  removeAll(channel: string): void;
}

/** Delivers to a channel, once. @throws channel.failed */
export type Notify = (delivery: Delivery) => Promise<void>;
