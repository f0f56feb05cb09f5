// Migrations on the way to production: read before they run, rehearsed on a copy of the schema, and
// remembered by who wants to go back.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { AppFolder, ECHO_SERVER } from "../support/app-folder.ts";
import { Installation } from "../support/installation.ts";
import { until } from "../support/wait.ts";

interface Releases {
  readonly releases: readonly { number: number; artifact: string; state: string }[];
}

describe("migrations in production", { timeout: 300_000 }, () => {
  const holdfast = new Installation();
  const app = new AppFolder({ "server.js": ECHO_SERVER }, "ledger");
  const manifest = (release: string): string => `
name: ledger
services: { web: { command: node server.js, routes: [{ host: ledger.localhost }] } }
release: { command: "${release}" }
`;

  before(async () => {
    await holdfast.ok("up", "--install");
    app.write({
      "holdfast.yaml": manifest("true"),
      "001.sql": "CREATE TABLE entry (id int, note text);",
    });
    await holdfast.ok("deploy", app.dir);
  });
  after(async () => {
    await holdfast.close();
    app.remove();
  });

  it("that would break the running release are named before they run, and refused", async () => {
    app.write({ "002.sql": "ALTER TABLE entry ADD COLUMN more text;" });
    await holdfast.ok("deploy", app.dir);
    app.write({ "003.sql": "-- tidy up\nALTER TABLE entry DROP COLUMN note;" });
    const refusedDeploy = await holdfast.run(["deploy", app.dir]);
    assert.equal(refusedDeploy.code, 2);
    assert.match(
      refusedDeploy.stderr,
      /003\.sql:2 breaks the running release: drops column entry\.note/,
    );
    const { releases } = await holdfast.json<Releases>("releases", "ledger");
    assert.equal(releases.length, 2, "nothing was made");
  });

  it("are let pass where somebody says so, and a rollback across them says what is gone", async () => {
    await holdfast.ok("deploy", app.dir, "--accept-contract", "--reason", "nobody reads it");
    const back = await holdfast.run(["rollback", "ledger"]);
    assert.equal(back.code, 2);
    assert.match(back.stderr, /release 3 drops column entry\.note/);
    // Of the same code with other settings nothing more is gone.
    await holdfast.ok("config", "set", "ledger", "A=1");
    await holdfast.ok("rollback", "ledger", "--to", "3");
    await holdfast.ok(
      "rollback",
      "ledger",
      "--to",
      "2",
      "--accept-contract",
      "--reason",
      "nobody reads it",
    );
  });
});

const KNEX = {
  "package.json": JSON.stringify({
    name: "notes",
    private: true,
    dependencies: { knex: "3.1.0", pg: "8.16.3" },
    scripts: { migrate: "knex migrate:latest" },
  }),
  "knexfile.js": 'module.exports = { client: "pg", connection: process.env.DATABASE_URL };',
  "server.js": ECHO_SERVER,
  "holdfast.yaml": `
name: notes
stores: { postgres: {} }
services: { web: { command: node server.js, routes: [{ host: notes.localhost }] } }
release: { command: npm run migrate }
`,
};

const migration = (up: string): string =>
  `exports.up = async (knex) => { ${up} };\nexports.down = async () => {};\n`;

describe("migrations that programs write", { timeout: 600_000 }, () => {
  const holdfast = new Installation();
  const app = new AppFolder(KNEX, "notes");
  let number = 0;
  const add = (up: string): void => {
    number += 1;
    app.write({ [`migrations/${String(number).padStart(3, "0")}_step.js`]: migration(up) });
  };
  const remove = (): void => {
    app.write({ [`migrations/${String(number).padStart(3, "0")}_step.js`]: migration("") });
  };
  /** What the database itself says. */
  const ask = async (sql: string): Promise<string> => {
    const query = `const { Client } = require("pg"); const c = new Client({ connectionString: process.env.DATABASE_URL }); c.connect().then(() => c.query(process.argv[1])).then(({ rows }) => { console.log(JSON.stringify(rows)); return c.end(); })`;
    return holdfast.ok(
      ...["run", "--emergency", "--reason", "the test looks", "notes", "--"],
      ...["node", "-e", query, sql],
    );
  };

  before(async () => {
    mkdirSync(join(app.dir, "migrations"));
    await holdfast.ok("up", "--install");
    add(
      'await knex.schema.createTable("note", (t) => { t.increments(); t.text("body"); t.text("author"); }); await knex("note").insert({ body: "first", author: "ana" });',
    );
    await holdfast.ok("deploy", app.dir);
  });
  after(async () => {
    await holdfast.close();
    app.remove();
  });

  it("run on a copy of the schema first, and then on the data, where they only add", async () => {
    add('await knex.schema.alterTable("note", (t) => { t.text("mood"); });');
    const { stdout, stderr } = await holdfast.run(["deploy", app.dir]);
    assert.match(stdout + stderr, /002_step\.js:1 unread: a program for Knex/);
    assert.match(
      await holdfast.ok("rollout", "notes"),
      /rehearsal passed: no breaking schema change/,
    );
    assert.match(
      await ask("SELECT count(mood) AS moods, count(*) AS notes FROM note"),
      /"notes":"1"/,
    );
  });

  it("that take something away are refused before they reach the data", async () => {
    add('await knex.schema.alterTable("note", (t) => { t.dropColumn("author"); });');
    const { code, stdout, stderr } = await holdfast.run(["deploy", app.dir]);
    assert.equal(code, 3, stdout + stderr);
    assert.match(
      stdout + stderr,
      /the release command breaks release 2: drops column note\.author/,
    );
    assert.match(await ask("SELECT author FROM note"), /"author":"ana"/);
    assert.match(
      await ask("SELECT count(*) AS ran FROM knex_migrations"),
      /"ran":"2"/,
      "its books do not say that it ran",
    );
    assert.match(
      await ask("SELECT count(*) AS copies FROM pg_database WHERE datname LIKE 'copy%'"),
      /"copies":"0"/,
    );
  });

  it("that fail fail there, with their last words", async () => {
    remove();
    add('await knex.raw("ALTER TABLE nothing ADD COLUMN x int");');
    const { code, stdout, stderr } = await holdfast.run(["deploy", app.dir]);
    assert.equal(code, 3, stdout + stderr);
    assert.match(stdout + stderr, /the rehearsal on a copy of the schema failed/);
    assert.match(stdout + stderr, /relation "nothing" does not exist/);
  });

  it("run where somebody says so, and whoever goes back is told", async () => {
    app.write({
      [`migrations/${String(number).padStart(3, "0")}_step.js`]: migration(
        'await knex.schema.alterTable("note", (t) => { t.dropColumn("author"); });',
      ),
    });
    await holdfast.ok("deploy", app.dir, "--accept-contract", "--reason", "nobody reads it");
    const { code, stderr } = await holdfast.run(["rollback", "notes"]);
    assert.equal(code, 2);
    assert.match(stderr, /drops column note\.author/);
  });

  it("of which the large tables' rows are not copied, nor those that refer to them", async () => {
    add(`
      await knex.raw("CREATE TABLE picture (id int PRIMARY KEY, bytes text)");
      await knex.raw("CREATE TABLE tag (id int PRIMARY KEY, picture int REFERENCES picture, name varchar(20))");
      await knex.raw("INSERT INTO picture SELECT i, repeat(md5(i::text), 60) FROM generate_series(1, 4000) i");
      await knex.raw("INSERT INTO tag SELECT i, i, 'x' FROM generate_series(1, 100) i");`);
    await holdfast.ok("deploy", app.dir);
    add(`
      const { rows } = await knex.raw("SELECT (SELECT count(*) FROM picture) AS pictures, (SELECT count(*) FROM tag) AS tags, (SELECT count(*) FROM note) AS notes");
      console.log(process.env.HOLDFAST_REHEARSAL ?? "for real", JSON.stringify(rows[0]));`);
    await holdfast.ok("deploy", app.dir);
    assert.match(
      await holdfast.ok("logs", "notes/rehearsal"),
      /1 \{"pictures":"0","tags":"0","notes":"1"\}/,
    );
    assert.match(
      await holdfast.ok("logs", "notes/release"),
      /for real \{"pictures":"4000","tags":"100","notes":"1"\}/,
    );
  });

  const raw = (...statements: readonly string[]): string =>
    statements.map((one) => `await knex.raw(${JSON.stringify(one)});`).join("\n");
  const ACCEPT = ["--accept-contract", "--reason", "nobody writes to it yet"];

  it("that only finish what was begun are let pass, however PostgreSQL writes a schema down", async () => {
    add(
      raw(
        "CREATE EXTENSION pgcrypto",
        "CREATE TABLE kind (id serial PRIMARY KEY, s varchar(10) CHECK (s IN ('a', 'b')), e text, f text)",
        "CREATE UNIQUE INDEX part ON kind (s) WHERE s IN ('a', 'b')",
        "CREATE VIEW kinds AS SELECT * FROM kind WHERE s IN ('a', 'b')",
        "ALTER TABLE kind ADD COLUMN g text",
        "CREATE MATERIALIZED VIEW pictures AS SELECT id FROM picture",
        "CREATE TABLE day (at date) PARTITION BY RANGE (at)",
        "CREATE TABLE day_1 PARTITION OF day FOR VALUES FROM ('2026-01-01') TO ('2026-01-02')",
        "CREATE TABLE day_2 PARTITION OF day FOR VALUES FROM ('2026-01-02') TO ('2026-01-03')",
        "CREATE TYPE addr AS (street text)",
        "CREATE FUNCTION price(a int, b int DEFAULT 2) RETURNS int LANGUAGE sql AS 'SELECT a * b'",
        "ALTER TABLE kind ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY all_of_it ON kind USING (true)",
      ),
    );
    await holdfast.ok("deploy", app.dir);
    add(
      raw(
        "ALTER TABLE kind ADD CONSTRAINT e_there CHECK (e IS NOT NULL) NOT VALID",
        "CREATE UNIQUE INDEX once ON kind (f)",
      ),
    );
    await holdfast.ok("deploy", app.dir, ...ACCEPT);
    assert.match(
      await holdfast.ok("rollout", "notes"),
      /breaking schema changes: adds the constraint e_there/,
    );
    add(
      raw(
        "ALTER TABLE kind VALIDATE CONSTRAINT e_there",
        "ALTER TABLE kind ALTER COLUMN e SET NOT NULL",
        "ALTER TABLE kind ADD CONSTRAINT once UNIQUE USING INDEX once",
        "CREATE UNIQUE INDEX ON pictures (id)",
        "CREATE UNIQUE INDEX part2 ON kind (s) WHERE s IN ('a', 'b')",
        "DROP INDEX part",
        "ALTER TABLE kind RENAME CONSTRAINT kind_s_check TO s_known",
      ),
    );
    await holdfast.ok("deploy", app.dir);
    assert.match(
      await holdfast.ok("rollout", "notes"),
      /rehearsal passed: no breaking schema change/,
    );
  });

  it("that take away what no reader of columns sees are refused, too", async () => {
    add(
      raw(
        "DROP EXTENSION pgcrypto",
        "REVOKE ALL ON SEQUENCE kind_id_seq FROM app_notes",
        "ALTER TABLE day DETACH PARTITION day_1",
        "ALTER TABLE day DETACH PARTITION day_2",
        "ALTER TABLE day ATTACH PARTITION day_2 FOR VALUES FROM ('2027-01-02') TO ('2027-01-03')",
        "DROP TYPE addr",
        "DROP FUNCTION price(int, int)",
        "CREATE FUNCTION price(a int, b int) RETURNS int LANGUAGE sql AS 'SELECT a * b'",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$",
        "ALTER TABLE kind DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE note SET UNLOGGED",
        "REVOKE UPDATE ON note FROM app_notes",
        "ALTER SEQUENCE note_id_seq INCREMENT 50",
        "ALTER VIEW kinds SET (security_invoker = true)",
        "ALTER TABLE kind DROP COLUMN g, ADD COLUMN g text",
        "DROP TABLE tag",
        "CREATE TABLE tag (id int PRIMARY KEY, picture int REFERENCES picture, name varchar(20))",
      ),
    );
    const { code, stdout, stderr } = await holdfast.run(["deploy", app.dir]);
    assert.equal(code, 3, stdout + stderr);
    for (const said of [
      "drops extension pgcrypto",
      "takes day_1 from the table that it is a part of",
      "takes the right to use kind_id_seq",
      "changes which rows the part day_2 holds",
      "drops type addr",
      "replaces the function price",
      "sets default_transaction_read_only of the database to on",
      "turns row security off for kind",
      "changes options of note:",
      "takes the right to update note",
      "changes options of note_id_seq:",
      "changes options of kinds:",
      "drops column kind.g and makes another of that name",
      "drops table tag and makes another of that name",
    ])
      assert.ok(stderr.includes(said) || stdout.includes(said), `${said}\n${stdout}${stderr}`);
    remove();
  });

  it("and what they do to roles stays in the rehearsal", async () => {
    add(raw("ALTER ROLE CURRENT_USER SET search_path = evil", "ALTER TABLE note DROP COLUMN mood"));
    const { code } = await holdfast.run(["deploy", app.dir]);
    assert.equal(code, 3);
    assert.match(
      await ask(
        "SELECT count(*) AS kept FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole WHERE r.rolname LIKE '%notes'",
      ),
      /"kept":"0"/,
    );
    assert.match(
      await ask("SELECT count(*) AS roles FROM pg_roles WHERE rolname LIKE 'copy%'"),
      /"roles":"0"/,
    );
    remove();
  });

  it("that are SQL are read with what the database has", async () => {
    app.write({ "after.sql": "ALTER TABLE tag ALTER COLUMN name TYPE text;" });
    const { stdout, stderr } = await holdfast.run(["deploy", app.dir]);
    assert.match(stdout + stderr, /carries all traffic/);
    assert.doesNotMatch(stdout + stderr, /after\.sql/, "what was a varchar is let pass");
    app.write({ "after.sql": "ALTER TABLE tag ALTER COLUMN id TYPE text;" });
    const other = await holdfast.run(["deploy", app.dir]);
    assert.match(
      other.stderr,
      /after\.sql:1 breaks the running release: changes the type of tag\.id from integer to text/,
    );
    app.write({ "after.sql": "" });
  });

  it("and the schemas of apps can't make the platform do anything for them", async () => {
    const grab = "ALTER ROLE owner_notes SUPERUSER";
    add(`
      await knex.raw(\`CREATE FUNCTION grab() RETURNS boolean LANGUAGE plpgsql AS $f$
        BEGIN RESET ROLE; EXECUTE '${grab}'; RETURN true; EXCEPTION WHEN OTHERS THEN RETURN true; END $f$\`);
      for (const args of ["text, text, text", "text, text, text, text, text"])
        await knex.raw(\`CREATE FUNCTION concat_ws(\${args}) RETURNS text LANGUAGE plpgsql AS $f$
          BEGIN PERFORM public.grab(); RETURN ''; END $f$\`);
      await knex.raw("CREATE FUNCTION md5(text, text) RETURNS text LANGUAGE sql AS 'SELECT public.grab()::text'");
      await knex.raw("CREATE TABLE trap (id int CHECK (grab()), made boolean DEFAULT grab())");
      await knex.raw("CREATE INDEX trap_index ON trap ((id + 1))");
      await knex.raw("INSERT INTO trap (id) VALUES (1)");`);
    await holdfast.ok("deploy", app.dir);
    add('await knex.raw("ALTER TABLE note ADD COLUMN another text");');
    await holdfast.ok("deploy", app.dir);
    assert.match(
      await holdfast.ok("rollout", "notes"),
      /rehearsal passed: no breaking schema change/,
    );
    assert.match(
      await ask("SELECT count(*) AS supers FROM pg_roles WHERE rolsuper AND rolname LIKE '%notes'"),
      /"supers":"0"/,
    );
  });

  it("are rehearsed once more where the control plane was killed meanwhile", async () => {
    add("await new Promise((done) => setTimeout(done, 3000));");
    const deploy = holdfast.run(["deploy", app.dir]);
    await until("it is rehearsed", async () =>
      /"phase":"rehearsal"/.test(JSON.stringify(await holdfast.status().catch(() => ({})))),
    );
    process.kill(holdfast.controlPlanePid, "SIGKILL");
    await deploy;
    await until("it is up again", async () => (await holdfast.run(["status"])).code === 0);
    await until("it has come to its end", async () =>
      /carries all traffic/.test(await holdfast.ok("rollout", "notes")),
    );
    assert.match(
      await ask("SELECT count(*) AS copies FROM pg_database WHERE datname LIKE 'copy%'"),
      /"copies":"0"/,
    );
  });

  it("run at once where the manifest says that they can't run twice", async () => {
    app.write({
      "holdfast.yaml": KNEX["holdfast.yaml"].replace(
        "npm run migrate",
        "npm run migrate, rehearse: false",
      ),
    });
    add('console.log("only once");');
    await holdfast.ok("deploy", app.dir);
    assert.doesNotMatch(await holdfast.ok("rollout", "notes"), /rehears/);
  });

  it("and what they set for the database keeps nobody from starting the app", async () => {
    add(
      raw(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$",
      ),
    );
    await holdfast.ok("deploy", app.dir);
    // What it has prepared once it does not prepare again before it was started anew.
    process.kill(holdfast.controlPlanePid, "SIGKILL");
    await until("it is up again", async () => (await holdfast.run(["status"])).code === 0);
    await holdfast.ok("restart", "notes", "--reason", "instances are made anew");
    assert.match(await ask("SHOW default_transaction_read_only"), /"on"/);
  });
});
