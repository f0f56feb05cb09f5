// Carts and sessions in Redis. Every key begins with the prefix that the shop was given.

import { createClient } from "@redis/client";
import { log } from "./log.ts";
import { inSpan } from "./telemetry.ts";

const CART_MS = 7 * 24 * 3_600_000;
const prefix = process.env["REDIS_KEY_PREFIX"] ?? "storefront:";
const CONNECT_TIMEOUT_MS = 2_000;
const RECONNECT_MAX_MS = 1_000;

export const cache = createClient({
  url: process.env["REDIS_URL"] ?? "redis://127.0.0.1:6379",
  disableOfflineQueue: true,
  socket: {
    connectTimeout: CONNECT_TIMEOUT_MS,
    reconnectStrategy: (attempt) => Math.min(50 * 2 ** attempt, RECONNECT_MAX_MS),
  },
});
cache.on("error", (error: Error) => log("warn", "Redis is away", { error: error.message }));

const cartKey = (session: string): string => `${prefix}cart:${session}`;
/** Sessions by when their cart was last changed. */
const lastUsedKey = `${prefix}carts-last-used`;

export type Cart = Readonly<Record<string, number>>;

const DB = { "db.system.name": "redis" };

export async function readCart(session: string): Promise<Cart> {
  const entries = await inSpan("HGETALL", "client", DB, () => cache.hGetAll(cartKey(session)));
  return Object.fromEntries(
    Object.entries(entries).map(([sku, quantity]) => [sku, Number(quantity)]),
  );
}

export async function addToCart(session: string, sku: string, quantity: number): Promise<void> {
  const key = cartKey(session);
  const now = await cache.hIncrBy(key, sku, quantity);
  if (now <= 0) await cache.hDel(key, sku);
  await cache.zAdd(lastUsedKey, { value: session, score: Date.now() });
}

export async function clearCart(session: string): Promise<void> {
  await cache.del(cartKey(session));
  await cache.zRem(lastUsedKey, session);
}

/** Removes carts that nobody has touched for a week; returns how many. */
export async function forgetOldCarts(): Promise<number> {
  const sessions = await cache.zRangeByScore(lastUsedKey, 0, Date.now() - CART_MS);
  for (const session of sessions) await clearCart(session);
  return sessions.length;
}
