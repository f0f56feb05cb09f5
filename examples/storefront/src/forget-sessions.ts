// The nightly job: carts that were left behind.

import { cache, forgetOldCarts } from "./cache.ts";
import { log } from "./log.ts";

await cache.connect();
log("info", "forgot old carts", { carts: await forgetOldCarts() });
await cache.close();
