// Orders. Stock is taken in the same transaction that makes the order: overselling is impossible,
// and a request that is repeated with the same key finds the order that it made.

import { database, inTransaction, type Queryable } from "./database.ts";
import { log } from "./log.ts";
import { BadRequest } from "./server.ts";
import { meter } from "./telemetry.ts";

const ordersPlaced = meter.createCounter("shop.orders", { description: "Orders that were placed" });
const refusals = meter.createCounter("shop.orders.refused", {
  description: "Orders that were refused: not enough in stock",
});

export interface OrderItem {
  readonly sku: string;
  readonly quantity: number;
}

export interface Order {
  readonly id: string;
  readonly totalCents: number;
  readonly release: string;
  readonly createdAt: string;
  readonly items: readonly (OrderItem & { readonly priceCents: number })[];
}

export class OutOfStock extends Error {
  readonly sku: string;
  constructor(sku: string) {
    super(`not enough of ${sku} in stock`);
    this.sku = sku;
  }
}

const MAX_ITEMS = 50;
const MAX_QUANTITY = 1_000;

export function parseItems(value: unknown): OrderItem[] {
  const items = (value as { items?: unknown } | null)?.items;
  if (!Array.isArray(items) || items.length === 0 || items.length > MAX_ITEMS) {
    throw new BadRequest(`items must be a list of 1 to ${MAX_ITEMS} {"sku","quantity"}`);
  }
  const bySku = new Map<string, number>();
  for (const { sku, quantity } of items as Partial<OrderItem>[]) {
    if (
      typeof sku !== "string" ||
      !Number.isInteger(quantity) ||
      Number(quantity) < 1 ||
      Number(quantity) > MAX_QUANTITY
    ) {
      throw new BadRequest(`each item needs a sku and a quantity from 1 to ${MAX_QUANTITY}`);
    }
    bySku.set(sku, (bySku.get(sku) ?? 0) + Number(quantity));
  }
  // Always in the same order: two orders never wait for each other's rows.
  return [...bySku]
    .map(([sku, quantity]) => ({ sku, quantity }))
    .sort((a, b) => (a.sku < b.sku ? -1 : 1));
}

export async function placeOrder(
  items: readonly OrderItem[],
  email: string | undefined,
  key: string | undefined,
): Promise<{ id: string; isNew: boolean }> {
  const known = key === undefined ? undefined : await findByKey(key);
  if (known !== undefined) return { id: known, isNew: false };
  try {
    const id = await inTransaction((client) => insertOrder(client, items, email, key));
    ordersPlaced.add(1);
    log("info", "order placed", { order: id });
    return { id, isNew: true };
  } catch (error) {
    if (error instanceof OutOfStock) refusals.add(1);
    // Two requests with one key at the same moment: the other one made the order.
    const isDuplicate =
      (error as { code?: string; constraint?: string }).constraint === "orders_idempotency_key_key";
    const other = isDuplicate && key !== undefined ? await findByKey(key) : undefined;
    if (other === undefined) throw error;
    return { id: other, isNew: false };
  }
}

async function insertOrder(
  client: Queryable,
  items: readonly OrderItem[],
  email: string | undefined,
  key: string | undefined,
): Promise<string> {
  let total = 0;
  const prices: number[] = [];
  for (const { sku, quantity } of items) {
    const { rows } = await client.query<{ price_cents: number }>(
      "UPDATE products SET stock = stock - $2 WHERE sku = $1 AND stock >= $2 RETURNING price_cents",
      [sku, quantity],
    );
    const [row] = rows;
    if (!row) throw new OutOfStock(sku);
    prices.push(row.price_cents);
    total += row.price_cents * quantity;
  }
  const customer = email === undefined ? undefined : await ensureCustomer(client, email);
  const { rows } = await client.query<{ id: string }>(
    "INSERT INTO orders (customer_id, total_cents, idempotency_key, release) VALUES ($1, $2, $3, $4) RETURNING id",
    [customer, total, key, process.env["HOLDFAST_RELEASE"] ?? "dev"],
  );
  const id = String(rows[0]?.id);
  await client.query(
    "INSERT INTO order_items (order_id, sku, quantity, price_cents) SELECT $1, * FROM unnest($2::text[], $3::int[], $4::int[])",
    [id, items.map(({ sku }) => sku), items.map(({ quantity }) => quantity), prices],
  );
  if (email !== undefined) {
    await client.query("INSERT INTO outbox (recipient, subject, body) VALUES ($1, $2, $3)", [
      email,
      `Your order ${id}`,
      `Thank you! We have your order ${id} over ${(total / 100).toFixed(2)}.`,
    ]);
  }
  return id;
}

async function ensureCustomer(client: Queryable, email: string): Promise<string> {
  const { rows } = await client.query<{ id: string }>(
    "INSERT INTO customers (email) VALUES ($1) ON CONFLICT (email) DO UPDATE SET email = excluded.email RETURNING id",
    [email],
  );
  return String(rows[0]?.id);
}

async function findByKey(key: string): Promise<string | undefined> {
  const { rows } = await database.query<{ id: string }>(
    "SELECT id FROM orders WHERE idempotency_key = $1",
    [key],
  );
  return rows[0] && String(rows[0].id);
}

export async function findOrder(id: string): Promise<Order | undefined> {
  const { rows } = await database.query(
    `SELECT o.id, o.total_cents, o.release, o.created_at,
            json_agg(json_build_object('sku', i.sku, 'quantity', i.quantity, 'priceCents', i.price_cents) ORDER BY i.sku) AS items
     FROM orders o JOIN order_items i ON i.order_id = o.id WHERE o.id = $1 GROUP BY o.id`,
    [id],
  );
  const [row] = rows as {
    id: string;
    total_cents: string;
    release: string;
    created_at: Date;
    items: Order["items"];
  }[];
  if (!row) return undefined;
  return {
    id: String(row.id),
    totalCents: Number(row.total_cents),
    release: row.release,
    createdAt: row.created_at.toISOString(),
    items: row.items,
  };
}

export interface Product {
  readonly sku: string;
  readonly name: string;
  readonly description: string;
  readonly priceCents: number;
  readonly stock: number;
}

export async function listProducts(): Promise<Product[]> {
  const { rows } = await database.query(
    `SELECT sku, name, description, price_cents AS "priceCents", stock::float8 AS stock FROM products ORDER BY name`,
  );
  return rows as Product[];
}
