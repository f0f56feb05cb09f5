import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { checkMigrations } from "./migration-check.ts";

const findings = async (text: string): Promise<string[]> =>
  (await checkMigrations([{ name: "002.sql", text }])).map(
    ({ kind, line, text: what }) => `${line} ${kind} ${what}`,
  );

describe("migrations", () => {
  it("that only add are let pass", async () => {
    const text = `
      CREATE TABLE review (id int PRIMARY KEY, stars int NOT NULL);
      ALTER TABLE orders ADD COLUMN note text;
      ALTER TABLE orders ADD COLUMN state text NOT NULL DEFAULT 'new';
      ALTER TABLE orders ADD COLUMN n int GENERATED ALWAYS AS IDENTITY;
      ALTER TABLE review ADD CONSTRAINT stars CHECK (stars BETWEEN 1 AND 5);
      CREATE UNIQUE INDEX one ON review (id);
      CREATE INDEX CONCURRENTLY by_note ON orders (note);
      INSERT INTO review VALUES (1, 5);
      UPDATE orders SET note = '';
      ALTER TABLE review DROP COLUMN stars;`;
    assert.deepEqual(await findings(text), []);
  });

  it("that take something away, rename it or ask for more are named, with their line", async () => {
    const text = `ALTER TABLE orders DROP COLUMN email;
DROP TABLE cart;
ALTER TABLE orders RENAME COLUMN total TO sum;
ALTER TABLE orders RENAME TO purchases;

ALTER TABLE orders ALTER COLUMN id TYPE bigint,
  ALTER COLUMN note SET NOT NULL;
ALTER TABLE orders ADD COLUMN must int NOT NULL;
ALTER TABLE orders ADD CONSTRAINT positive CHECK (total > 0);
TRUNCATE orders;
DROP VIEW open_orders;
ALTER TYPE state RENAME VALUE 'new' TO 'fresh';
CREATE UNIQUE INDEX CONCURRENTLY u ON orders (email);
CREATE INDEX i ON orders (email);`;
    const found = await findings(text);
    for (const [index, expected] of [
      "1 contract drops column orders.email",
      "2 contract drops table cart",
      "3 contract renames column orders.total to sum",
      "4 contract renames table orders to purchases",
      "6 contract changes the type of orders.id",
      "6 contract makes orders.note not null",
      "8 contract adds orders.must not null without a default",
      "9 contract adds the constraint positive to orders",
      "10 contract empties orders",
      "11 contract drops view open_orders",
      "12 contract renames the value new",
      "13 contract makes u unique on orders",
      "14 lock builds the index i on orders",
    ].entries())
      assert.ok(found[index]?.startsWith(expected), `${found[index]} instead of ${expected}`);
    assert.equal(found.length, 13);
  });

  it("that nobody can read are said, and break nothing", async () => {
    assert.match(
      (await findings("ALTER TABEL x;"))[0] ?? "",
      /unread syntax error at or near "TABEL"/,
    );
  });

  it("see what a file before them made", async () => {
    const files = [
      { name: "001.sql", text: "CREATE TABLE a (b int)" },
      { name: "002.sql", text: "ALTER TABLE a DROP COLUMN b" },
    ];
    assert.deepEqual(await checkMigrations(files), []);
  });
});
