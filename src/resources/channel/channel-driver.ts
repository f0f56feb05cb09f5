// What channels need from the world: a way to each.

import type { Delivery } from "./channel.ts";

/** Delivers to a channel, once. @throws channel.failed */
export type Notify = (delivery: Delivery) => Promise<void>;
