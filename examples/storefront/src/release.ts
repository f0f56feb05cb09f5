// The release command: migrations, each in a transaction of its own and only once, then the
// products that a new shop starts with.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { database, inTransaction } from "./database.ts";
import { fault } from "./fault.ts";
import { log } from "./log.ts";
import { PRODUCTS } from "./seed.ts";

const folder = join(import.meta.dirname, "..", "migrations");
/** Any number: whoever holds it is the only one who migrates. */
const MIGRATION_LOCK = 7_261_394;

await inTransaction(async (client) => {
  await client.query("SELECT pg_advisory_xact_lock($1)", [MIGRATION_LOCK]);
  await client.query(
    "CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())",
  );
  const { rows } = await client.query<{ name: string }>("SELECT name FROM migrations");
  const applied = new Set(rows.map(({ name }) => name));
  const pending = readdirSync(folder)
    .filter((name) => name.endsWith(".sql") && !applied.has(name))
    .sort();
  for (const name of pending) {
    await client.query(readFileSync(join(folder, name), "utf8"));
    await client.query("INSERT INTO migrations (name) VALUES ($1)", [name]);
    log("info", "migrated", { name });
  }
  if (fault.kind === "broken-migration")
    await client.query(
      "ALTER TABLE orders ADD COLUMN broken integer NOT NULL REFERENCES nowhere (id)",
    );
});

await database.query(
  `INSERT INTO products (sku, name, description, price_cents, stock)
   SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::bigint[]) ON CONFLICT (sku) DO NOTHING`,
  [
    PRODUCTS.map((one) => one.sku),
    PRODUCTS.map((one) => one.name),
    PRODUCTS.map((one) => one.description),
    PRODUCTS.map((one) => one.priceCents),
    PRODUCTS.map((one) => one.stock),
  ],
);
log("info", "the shop's tables are ready");
await database.end();
