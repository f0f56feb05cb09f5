// The nightly job: carts whose time to live got lost would stay for ever.

import { cache, forgetEndlessCarts } from "./cache.ts";
import { log } from "./log.ts";

await cache.connect();
log("info", "forgot carts without an end", { carts: await forgetEndlessCarts() });
await cache.close();
