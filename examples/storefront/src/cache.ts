// Carts and sessions in Redis. Every key begins with the prefix that the shop was given.

import { createClient } from "@redis/client";
import { log } from "./log.ts";

const CART_SECONDS = 7 * 24 * 3600;
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

export type Cart = Readonly<Record<string, number>>;

export async function readCart(session: string): Promise<Cart> {
  const entries = await cache.hGetAll(cartKey(session));
  return Object.fromEntries(
    Object.entries(entries).map(([sku, quantity]) => [sku, Number(quantity)]),
  );
}

export async function addToCart(session: string, sku: string, quantity: number): Promise<void> {
  const key = cartKey(session);
  const now = await cache.hIncrBy(key, sku, quantity);
  if (now <= 0) await cache.hDel(key, sku);
  await cache.expire(key, CART_SECONDS);
}

export async function clearCart(session: string): Promise<void> {
  await cache.del(cartKey(session));
}

/** Removes carts that lost their time to live; returns how many. */
export async function forgetEndlessCarts(): Promise<number> {
  let forgotten = 0;
  for await (const keys of cache.scanIterator({ MATCH: `${prefix}cart:*`, COUNT: 200 })) {
    for (const key of keys) {
      if ((await cache.ttl(key)) === -1) forgotten += await cache.del(key);
    }
  }
  return forgotten;
}
