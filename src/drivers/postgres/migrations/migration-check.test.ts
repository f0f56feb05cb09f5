import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { checkMigrations } from "./migration-check.ts";
import { Schema, type SchemaFact } from "./schema.ts";

const findings = async (text: string, schema?: Schema): Promise<string[]> =>
  (await checkMigrations([{ name: "002.sql", text }], schema)).map(
    ({ kind, line, text: what }) => `${line} ${kind} ${what}`,
  );

const fact = (
  kind: SchemaFact["kind"],
  of: string,
  name: string,
  detail = "",
  columns: readonly string[] = [],
): SchemaFact => ({ kind, of, name, detail, columns });

/** A shop's: orders with a short note, their index, a view and a function. */
const SHOP = new Schema(
  [
    fact("schema", "", "public"),
    fact("relation", "", "public.orders", "table"),
    fact("column", "public.orders", "id", "integer"),
    fact("column", "public.orders", "note", "character varying(20)"),
    fact("column", "public.orders", "price", "numeric(8,2)"),
    fact("relation", "", "public.by_note", "index"),
    fact("unique index", "public.orders", "once", "", ["note"]),
    fact("constraint", "public.orders", "one_note", "UNIQUE (note)", ["note"]),
    fact("relation", "", "public.open_orders", "view"),
    fact("function", "public.total", "(integer)", ""),
  ],
  ["length"],
);

describe("migrations", () => {
  it("that only add are let pass", async () => {
    const text = `
      CREATE TABLE review (id int PRIMARY KEY, stars int NOT NULL);
      ALTER TABLE orders ADD COLUMN note text;
      ALTER TABLE orders ADD COLUMN state text NOT NULL DEFAULT 'new';
      ALTER TABLE orders ADD COLUMN made timestamptz NOT NULL DEFAULT now();
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
ALTER TABLE orders ADD CONSTRAINT positive CHECK (total > 0) NOT VALID;
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
      "6 lock changes the type of orders.id",
      "6 contract makes orders.note not null",
      "6 lock makes orders.note not null",
      "8 contract adds orders.must not null without a default",
      "9 contract adds the constraint positive to orders",
      "10 contract empties orders",
      "11 contract drops view open_orders",
      "12 contract renames the value new",
      "13 contract makes u unique on orders",
      "14 lock builds the index i on orders",
    ].entries())
      assert.ok(found[index]?.startsWith(expected), `${found[index]} instead of ${expected}`);
    assert.equal(found.length, 15);
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

  it("are counted by lines, whatever their letters and comments", async () => {
    const text =
      "-- größer\n/* ärger\n über */\nCOMMENT ON TABLE a IS 'ä';\n-- then\n\nDROP TABLE a;";
    assert.deepEqual(await findings(text), ["7 contract drops table a"]);
  });
});

describe("a migration that is made to be slow to read", () => {
  it("is read in time: functions that call each other twice, many statements, blank lines", async () => {
    const calls = Array.from(
      { length: 18 },
      (_, n) =>
        `CREATE FUNCTION f${n}() RETURNS int LANGUAGE sql AS 'SELECT f${n + 1}(); SELECT f${n + 1}(); SELECT f${n + 1}()';`,
    ).join("\n");
    const end = "CREATE FUNCTION f18() RETURNS int LANGUAGE sql AS 'DELETE FROM orders; SELECT 1';";
    const found = await findings(`${calls}\n${end}\nSELECT f0();`);
    assert.ok(found.some((line) => line.includes("deletes every row of orders")));
    const many = await findings(`${"\n".repeat(200_000)}${"DROP TABLE a;\n".repeat(20_000)}`);
    assert.equal(many[0], "200001 contract drops table a");
    assert.equal(many.at(-1), "220000 contract drops table a");
  });
});

describe("what breaks a release that still runs", () => {
  for (const [text, ...expected] of [
    ["ALTER TABLE orders ALTER note DROP DEFAULT", "contract drops the default of orders.note"],
    ["ALTER TABLE orders SET SCHEMA attic", "contract moves table orders to the schema attic"],
    ["ALTER TABLE logs DETACH PARTITION logs_1", "contract takes the partition logs_1 from logs"],
    ["ALTER TABLE orders ENABLE ROW LEVEL SECURITY", "contract turns row security on for orders"],
    ["ALTER TABLE orders FORCE ROW LEVEL SECURITY", "contract forces row security on orders"],
    [
      "CREATE POLICY p ON orders AS RESTRICTIVE USING (false)",
      "contract adds a restrictive policy",
    ],
    ["DROP POLICY p ON orders", "contract drops policy p of orders"],
    ["REVOKE INSERT ON orders FROM app_shop", "contract takes rights on orders"],
    ["REVOKE reader FROM app_shop", "contract takes a role from an account"],
    [
      "CREATE TRIGGER t BEFORE INSERT ON orders EXECUTE FUNCTION f()",
      "contract adds the trigger t",
    ],
    ["ALTER TABLE orders DISABLE TRIGGER ALL", "contract changes which triggers or rules run"],
    [
      "CREATE RULE r AS ON DELETE TO orders DO INSTEAD NOTHING",
      "contract adds the rule r to orders",
    ],
    ["CREATE OR REPLACE VIEW open_orders AS SELECT 1", "contract replaces the view open_orders"],
    ["ALTER DOMAIN money ADD CHECK (value > 0)", "contract adds a constraint to the domain money"],
    ["ALTER DOMAIN money SET NOT NULL", "contract adds a constraint to the domain money"],
    ["DELETE FROM orders", "contract deletes every row of orders"],
    ["DELETE FROM orders WHERE true", "contract deletes every row of orders"],
    [
      "WITH x AS (DELETE FROM orders RETURNING *) INSERT INTO attic SELECT * FROM x",
      "contract deletes every row of orders",
    ],
    ["UPDATE orders SET note = NULL", "contract overwrites note in every row of orders"],
    [
      "MERGE INTO orders o USING n ON o.id = n.id WHEN MATCHED THEN DELETE",
      "contract deletes rows",
    ],
    ["ALTER TABLE orders OWNER TO somebody", "contract changes the owner of orders"],
    ["ALTER FUNCTION total() OWNER TO somebody", "contract changes the owner of function total"],
    ["DROP OWNED BY app_shop", "contract drops all that a role owns"],
    ["DROP SCHEMA shop CASCADE", "contract drops schema shop"],
    ["DROP FUNCTION total(int)", "contract drops function total"],
    ["DROP EXTENSION citext", "contract drops extension citext"],
    ["ALTER TABLE orders ALTER id DROP IDENTITY", "contract no longer fills orders.id in"],
    // The same name elsewhere is another thing.
    [
      "CREATE TABLE attic.orders (id int); ALTER TABLE orders DROP COLUMN id",
      "contract drops column orders.id",
    ],
    ["CREATE TABLE orders (id int); DROP TABLE public.cart", "contract drops table cart"],
    [
      "SET search_path TO attic; CREATE TABLE orders (id int); SET search_path TO public; DROP TABLE orders",
      "contract drops table orders",
    ],
    // Whoever finds it there makes nothing.
    [
      "CREATE TABLE IF NOT EXISTS orders (id int); ALTER TABLE orders DROP COLUMN note",
      "contract drops column orders.note",
    ],
    [
      "ALTER TABLE orders ADD COLUMN IF NOT EXISTS note text; ALTER TABLE orders DROP COLUMN note",
      "contract drops column orders.note",
    ],
    // What fills itself in is not left null.
    [
      "ALTER TABLE orders ADD COLUMN e text; ALTER TABLE orders ADD CONSTRAINT c CHECK (e IS NOT NULL) NOT VALID",
      "contract adds the constraint c to orders",
    ],
    [
      "ALTER TABLE orders ADD COLUMN s text NOT NULL DEFAULT ''; CREATE UNIQUE INDEX CONCURRENTLY u ON orders (s)",
      "contract makes u unique on orders",
    ],
    [
      "ALTER TABLE orders ADD COLUMN c int NOT NULL DEFAULT 0; ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY (c) REFERENCES buyer NOT VALID",
      "contract adds the constraint f",
    ],
    [
      "ALTER TABLE orders ADD COLUMN a int; CREATE UNIQUE INDEX CONCURRENTLY u ON orders (a) NULLS NOT DISTINCT",
      "contract makes u unique",
    ],
    [
      "CREATE DOMAIN dn AS int CHECK (VALUE IS NOT NULL); ALTER TABLE orders ADD COLUMN x dn",
      "contract adds orders.x of a domain with constraints",
    ],
    [
      "ALTER TABLE orders ADD COLUMN flag bool CHECK (length(note) < 5)",
      "contract adds orders.flag with a check",
    ],
    // Django: a default that is gone at once.
    [
      "ALTER TABLE orders ADD COLUMN st varchar(10) DEFAULT 'new' NOT NULL; ALTER TABLE orders ALTER COLUMN st DROP DEFAULT",
      "contract drops the default of orders.st",
    ],
    [
      "ALTER TABLE orders ADD COLUMN st int DEFAULT 0; ALTER TABLE orders ALTER st DROP DEFAULT; ALTER TABLE orders ALTER st SET NOT NULL",
      "contract makes orders.st not null",
    ],
    [
      "ALTER TABLE orders ADD COLUMN st int NOT NULL DEFAULT NULL",
      "contract adds orders.st not null without a default",
    ],
    ["ALTER TABLE orders ALTER note SET DEFAULT NULL", "contract drops the default of orders.note"],
    // What is there was not made.
    [
      "CREATE TEMP TABLE orders (id int); DROP TABLE orders; DROP TABLE orders",
      "contract drops table orders",
    ],
    [
      "CREATE FUNCTION orders() RETURNS int LANGUAGE sql AS '1'; DROP TABLE orders",
      "contract drops table orders",
    ],
    [
      "CREATE FUNCTION total(integer, text) RETURNS int LANGUAGE sql AS '1'; DROP FUNCTION total(integer)",
      "contract drops function total",
    ],
    // Where names are looked for.
    [
      `SET search_path TO "$user", public; DROP TABLE IF EXISTS orders`,
      "contract drops table orders",
    ],
    [
      "SELECT set_config('search_path', 'public, ext', false); DROP TABLE IF EXISTS orders",
      "contract drops table orders",
    ],
    [
      "CREATE SCHEMA tenant; SET search_path TO tenant, public; DROP TABLE orders",
      "contract drops table orders",
    ],
    // Rows, rights, sequences.
    ["ALTER TABLE orders DISABLE ROW LEVEL SECURITY", "contract turns row security off for orders"],
    [
      "ALTER TABLE orders ALTER id SET GENERATED ALWAYS",
      "contract changes how orders.id is filled in",
    ],
    [
      "ALTER VIEW open_orders SET (security_invoker = true)",
      "contract changes whose rights open_orders has",
    ],
    // In blocks and functions.
    [
      `DO $$ DECLARE t text; BEGIN FOR t IN SELECT tablename FROM pg_tables LOOP EXECUTE format('DROP TABLE IF EXISTS %I CASCADE', t); END LOOP; END $$`,
      "contract drops table …",
    ],
    [
      "DO $$ BEGIN EXECUTE format('ALTER TABLE %I DROP COLUMN IF EXISTS note', 'orders'); END $$",
      "contract drops column …",
    ],
    [
      "DO $$ DECLARE r record; BEGIN FOR r IN EXECUTE 'DELETE FROM orders RETURNING id' LOOP END LOOP; END $$",
      "contract deletes every row of orders",
    ],
    [
      `CREATE FUNCTION evil() RETURNS int LANGUAGE sql AS 'DELETE FROM orders; SELECT 1'; DO $$ DECLARE n int; BEGIN n := "evil"(); END $$`,
      "contract calls evil, which deletes",
    ],
    [
      "CREATE FUNCTION evil() RETURNS int LANGUAGE sql AS 'DELETE FROM orders; SELECT 1'; INSERT INTO log SELECT evil()",
      "contract calls evil, which deletes",
    ],
    [
      "CREATE FUNCTION evil() RETURNS int LANGUAGE sql AS 'DELETE FROM orders; SELECT 1'; UPDATE orders SET id = evil() WHERE id = 1",
      "contract calls evil, which deletes",
    ],
    [
      "CREATE FUNCTION evil() RETURNS int LANGUAGE sql AS 'DELETE FROM orders; SELECT 1'; ALTER TABLE orders ADD COLUMN z int DEFAULT evil()",
      "contract calls evil, which deletes",
    ],
    [
      "CREATE FUNCTION h(int) RETURNS int LANGUAGE sql AS 'DELETE FROM orders; SELECT 1'; CREATE FUNCTION h(text) RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT h(1)",
      "contract calls h, which deletes",
    ],
    ["DO $$ BEGIN ALTER TABLE orders DROP COLUMN id; END $$", "contract drops column orders.id"],
    [
      "DO $$ BEGIN IF true THEN EXECUTE 'DROP TABLE orders'; END IF; END $$",
      "contract drops table orders",
    ],
    [
      "DO $$ DECLARE t text; BEGIN FOR t IN SELECT tablename FROM pg_tables LOOP EXECUTE format('DROP TABLE %I', t); END LOOP; END $$",
      "contract drops table …",
    ],
    [
      "DO $$ BEGIN CREATE TABLE orders (id int); EXCEPTION WHEN OTHERS THEN NULL; END $$; DROP TABLE orders",
      "contract drops table orders",
    ],
    [
      "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN DROP TABLE orders; END $$; SELECT f()",
      "contract calls f, which drops table orders",
    ],
    [
      "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'DELETE FROM orders'; SELECT f()",
      "contract calls f, which deletes every row of orders",
    ],
    [
      "CREATE PROCEDURE f() LANGUAGE sql BEGIN ATOMIC DELETE FROM orders; END; CALL f()",
      "contract calls f, which deletes every row of orders",
    ],
    [
      "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'DROP TABLE orders'; DO $$ BEGIN PERFORM f(); END $$",
      "contract calls f, which drops table orders",
    ],
  ] as const)
    for (const [known, schema] of [
      ["alone", undefined],
      ["with the schema", SHOP],
    ] as const)
      it(`${text} (${known})`, async () => {
        const found = await findings(text, schema);
        for (const one of expected)
          assert.ok(
            found.some((line) => line.replace(/^\d+ /, "").startsWith(one)),
            found.join("\n") || "nothing was found",
          );
      });
});

describe("what holds others up", () => {
  for (const [text, expected] of [
    ["ALTER TABLE orders ADD COLUMN k uuid DEFAULT gen_random_uuid()", "a value for each row"],
    ["ALTER TABLE orders ADD COLUMN n bigserial", "a value for each row"],
    ["ALTER TABLE orders ADD COLUMN n int GENERATED ALWAYS AS IDENTITY", "a value for each row"],
    ["ALTER TABLE orders ADD COLUMN n int GENERATED ALWAYS AS (id + 1) STORED", "a value for each"],
    ["ALTER TABLE orders ADD COLUMN n int UNIQUE", "with an index"],
    ["ALTER TABLE orders ADD COLUMN n int CHECK (n > 0)", "with a check"],
    ["ALTER TABLE orders ADD CONSTRAINT c CHECK (id > 0)", "reads all rows meanwhile"],
    ["VACUUM FULL orders", "VACUUM FULL"],
    ["REINDEX TABLE orders", "REINDEX CONCURRENTLY"],
    ["CLUSTER orders", "CLUSTER"],
    ["LOCK TABLE orders", "locks orders until"],
    ["REFRESH MATERIALIZED VIEW totals", "fills totals anew"],
    ["DROP INDEX by_note", "drops the index by_note"],
    ["ALTER TABLE orders SET TABLESPACE fast", "rewrites orders"],
  ] as const)
    it(text, async () => {
      const found = await findings(text);
      assert.ok(
        found.some((line) => line.startsWith("1 lock ") && line.includes(expected)),
        found.join("\n") || "nothing was found",
      );
    });
});

describe("what can't be read counts as risk", () => {
  for (const text of [
    "DO $$ BEGIN EXECUTE (SELECT string_agg(x, ';') FROM t); END $$",
    "DO $$ BEGIN EXECUTE format('%s', $1); END $$",
    "DO LANGUAGE plpython3u $$ plpy.execute('DROP TABLE orders') $$",
    "SELECT drop_what_is_old()",
    "CALL tidy()",
    "ALTER SYSTEM SET work_mem = '1GB'",
    "ALTER TABLE orders ALTER note TYPE text",
    "COPY orders FROM PROGRAM 'cat'",
    "\\i other.sql",
    "SELECT 1;\0\nDROP TABLE orders;",
    "SET standard_conforming_strings = off;\nSELECT '\\''; DROP TABLE orders; --';",
    "ALTER TABLE orders DROP CONSTRAINT one_note",
    "DROP INDEX once",
    "ALTER SEQUENCE orders_id_seq INCREMENT 1",
    "ALTER TABLE orders REPLICA IDENTITY NOTHING",
  ])
    it(text, async () => {
      const found = await findings(text);
      assert.ok(
        found.some((line) => line.startsWith("1 unread ")),
        found.join("\n") || "nothing was found",
      );
    });
});

describe("what breaks nothing", () => {
  for (const text of [
    "ALTER INDEX by_note RENAME TO by_text",
    "ALTER TABLE by_note RENAME TO by_text",
    "DROP INDEX CONCURRENTLY by_note",
    "ALTER TABLE orders ALTER note TYPE text",
    "ALTER TABLE orders ALTER note TYPE varchar(40)",
    "ALTER TABLE orders ALTER price TYPE numeric(10,2)",
    "ALTER TABLE orders ADD COLUMN buyer int; ALTER TABLE orders ADD CONSTRAINT b FOREIGN KEY (buyer) REFERENCES buyer (id)",
    "ALTER TABLE orders ADD COLUMN code text; CREATE UNIQUE INDEX CONCURRENTLY c ON orders (code)",
    "CREATE TABLE IF NOT EXISTS cart (id int); ALTER TABLE cart DROP COLUMN id",
    "DROP TABLE IF EXISTS cart",
    "DROP TRIGGER IF EXISTS t ON orders",
    "CREATE OR REPLACE VIEW late_orders AS SELECT 1",
    "CREATE OR REPLACE FUNCTION fresh() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TEMP TABLE orders (id int); DROP TABLE orders",
    "DO $$ BEGIN CREATE TYPE mood AS ENUM ('good'); EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    "DO $$ BEGIN CREATE TABLE attic (id int); ALTER TABLE attic DROP COLUMN id; END $$",
    "DELETE FROM orders WHERE note = 'spam'",
    "SELECT setval('orders_id_seq', 10), length('x')",
    "SELECT pg_catalog.set_config('search_path', '', false)",
    "ALTER TABLE orders VALIDATE CONSTRAINT positive",
    "GRANT SELECT ON orders TO reader",
    "CREATE SCHEMA fresh; CREATE TABLE fresh.a (b int); DROP TABLE fresh.a",
    "ALTER TABLE IF EXISTS cart DROP COLUMN id",
    "ALTER TABLE orders ADD COLUMN a int; ALTER TABLE orders RENAME COLUMN a TO b; ALTER TABLE orders DROP COLUMN b",
    "DROP FUNCTION IF EXISTS nope()",
    "DROP EXTENSION IF EXISTS nope",
    "VACUUM (FULL false) orders",
    "ALTER TABLE orders ALTER id TYPE int4",
    "ALTER TABLE orders ADD COLUMN tok text; CREATE UNIQUE INDEX CONCURRENTLY t ON orders (lower(tok))",
    "BEGIN; SET lock_timeout = '2s'; COMMENT ON TABLE orders IS 'x'; COMMIT",
  ])
    it(text, async () => {
      assert.deepEqual(await findings(text, SHOP), []);
    });
});

describe("what the schema tells beyond the text", () => {
  for (const [text, expected] of [
    // psql goes on after the error.
    ["CREATE TABLE orders (id int); DELETE FROM orders", /contract deletes every row of orders/],
    [
      "CREATE TABLE orders (id int); ALTER TABLE orders DROP COLUMN note",
      /drops column orders.note/,
    ],
    ["ALTER TABLE orders ALTER note TYPE varchar(10)", /contract changes the type of orders.note/],
    ["ALTER TABLE orders ALTER id TYPE text", /contract .* from integer to text/],
    ["ALTER TABLE orders ALTER note TYPE text USING ''", /contract changes the type/],
    ["DROP INDEX CONCURRENTLY once", /contract drops the unique index once: ON CONFLICT/],
    [
      "ALTER TABLE orders DROP CONSTRAINT one_note",
      /contract drops the unique constraint one_note/,
    ],
    ["CREATE OR REPLACE FUNCTION total() RETURNS int LANGUAGE sql AS '1'", /unread replaces the f/],
    [
      "CREATE TABLE IF NOT EXISTS orders (id int); DROP TABLE orders",
      /contract drops table orders/,
    ],
  ] as const)
    it(text, async () => {
      assert.match((await findings(text, SHOP)).join("\n"), expected);
    });
});
