// Two apps on one environment's stores: each has its own, and nothing of the other's, also when an
// app has a name that the engines use themselves.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { createClient } from "@redis/client";
import pg from "pg";
import { AppFolder } from "../support/app-folder.ts";
import { Installation } from "../support/installation.ts";
import { mayFilter, TestNamespace } from "../support/test-namespace.ts";
import { until } from "../support/wait.ts";

const MANIFEST = (name: string): string =>
  `name: ${name}\nworkers: { w: { command: 'while true; do sleep 1; done' } }\nstores: { postgres: { role: runtime }, redis: {} }\n`;

describe("stores of an environment", { timeout: 120_000 }, () => {
  const holdfast = new Installation();
  const folders: AppFolder[] = [];
  const deploy = async (name: string): Promise<void> => {
    const folder = new AppFolder({ "holdfast.yaml": MANIFEST(name) }, name);
    folders.push(folder);
    await holdfast.ok("deploy", folder.dir);
  };
  const known = new Map<string, Promise<string>>();
  const variable = (app: string, name: string): Promise<string> => {
    const key = `${app} ${name}`;
    const value = known.get(key) ?? holdfast.ok("run", app, "--", `printenv ${name}`);
    known.set(key, value);
    return value.then((text) => text.trim());
  };
  const query = async (url: string, sql: string): Promise<pg.QueryResult> => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      return await client.query(sql);
    } finally {
      await client.end();
    }
  };
  const redis = async (app: string, command: readonly string[]): Promise<unknown> => {
    const client = createClient({
      url: await variable(app, "REDIS_URL"),
      socket: { reconnectStrategy: false },
    });
    client.on("error", () => undefined);
    await client.connect();
    try {
      return await client.sendCommand([...command]);
    } finally {
      client.destroy();
    }
  };

  before(async () => {
    await holdfast.ok("up", "--install");
    for (const name of ["shop", "shop-owner", "postgres", "holdfast"]) await deploy(name);
  });
  after(async () => {
    await holdfast.close();
    for (const folder of folders) folder.remove();
  });

  it("lets an app into its own database only, with no right beyond rows", async () => {
    const urls = await Promise.all(
      ["shop", "shop-owner", "postgres", "holdfast"].map((app) => variable(app, "DATABASE_URL")),
    );
    const users = new Set(urls.map((url) => new URL(url).username));
    const databases = new Set(urls.map((url) => new URL(url).pathname));
    assert.equal(users.size, urls.length);
    assert.equal(databases.size, urls.length);
    for (const url of urls) {
      const { rows } = await query(
        url,
        `SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls AS strong,
                pg_has_role(current_user, datdba, 'MEMBER') AS owner
         FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()`,
      );
      assert.deepEqual(rows, [{ strong: false, owner: false }]);
      for (const database of [...databases, "/postgres", "/template1"]) {
        const other = new URL(url);
        if (other.pathname === database) continue;
        other.pathname = database;
        await assert.rejects(query(other.href, "SELECT 1"), /permission denied for database/);
      }
    }
  });

  it("knows nobody without the password, which is kept as SCRAM only", async () => {
    const url = new URL(await variable("shop", "DATABASE_URL"));
    url.password = "wrong";
    await assert.rejects(query(url.href, "SELECT 1"), /password authentication failed/);
    url.password = "";
    await assert.rejects(query(url.href, "SELECT 1"), /password|SASL/);
    const { rows } = await query(
      await variable("shop", "DATABASE_URL"),
      "SELECT current_setting('password_encryption') AS encryption",
    );
    assert.deepEqual(rows, [{ encryption: "scram-sha-256" }]);
    const anonymous = createClient({
      url: `redis://127.0.0.1:${holdfast.ports.engines["redis.production"]}`,
      socket: { reconnectStrategy: false },
    });
    anonymous.on("error", () => undefined);
    await assert.rejects(
      anonymous.connect().then(() => anonymous.ping()),
      /NOAUTH/,
    );
    anonymous.destroy();
  });

  it("shows an app the keys under its prefix, and no way around it", async () => {
    await redis("shop", ["SET", "shop:session:1", "hers"]);
    assert.equal(await redis("shop", ["GET", "shop:session:1"]), "hers");
    for (const command of [
      ["GET", "shop:session:1"],
      ["SCAN", "0"],
      ["KEYS", "*"],
      ["RANDOMKEY"],
      ["MONITOR"],
      ["FLUSHALL"],
      ["CONFIG", "GET", "*"],
      ["ACL", "LIST"],
      ["FUNCTION", "FLUSH"],
      ["PUBLISH", "shop:news", "x"],
      ["EVAL", "return redis.call('get', KEYS[1])", "1", "shop:session:1"],
    ]) {
      for (const stranger of ["shop-owner", "holdfast"])
        await assert.rejects(redis(stranger, command), /NOPERM/, command.join(" "));
    }
  });

  it("keeps apps away from what watches all of them", async (t) => {
    if (!(await mayFilter())) return t.skip("no packet filter here");
    const answers = async (port: number | undefined): Promise<string> =>
      (
        await holdfast.ok(
          "run",
          "shop",
          "--",
          `node -e "fetch('http://127.0.0.1:${port}/').then(()=>console.log('answers'),()=>console.log('refused'))"`,
        )
      ).trim();
    const { engines, otlpHttp, edgeMetrics } = holdfast.ports;
    // The control: where it sends its telemetry it does get an answer.
    assert.equal(await answers(otlpHttp), "answers");
    for (const name of ["prometheus", "alertmanager", "node-exporter"])
      assert.equal(await answers(engines[`${name}.platform`]), "refused", name);
    for (const name of ["postgres-exporter", "redis-exporter"])
      assert.equal(await answers(engines[`${name}.production`]), "refused", name);
    assert.equal(await answers(edgeMetrics), "refused", "what the edge counted");
  });

  it("can't be reached from outside", async (t) => {
    const namespace = await TestNamespace.open();
    if (!namespace) return t.skip("no network namespaces here");
    try {
      const { engines, otlpHttp, otlpGrpc, edgeMetrics } = holdfast.ports;
      assert.deepEqual(Object.keys(engines).sort(), [
        "alertmanager.platform",
        "node-exporter.platform",
        "postgres-exporter.production",
        "postgres.production",
        "prometheus.platform",
        "redis-exporter.production",
        "redis.production",
      ]);
      for (const port of [...Object.values(engines), otlpHttp, otlpGrpc, edgeMetrics])
        assert.ok(!(await namespace.reaches(port)), String(port));
    } finally {
      await namespace.close();
    }
  });

  // Last: what hangs holds up everything that is asked of it.
  for (const [engine, kind] of [
    ["redis", "cache"],
    ["postgres", "database"],
  ] as const)
    it(`is seen to hang, and to be back: ${engine}`, async () => {
      const file = join(holdfast.home, "environments", "production", engine, "run", "child");
      const pid = Number.parseInt(readFileSync(file, "utf8"), 10);
      const stateNow = async () =>
        (
          await holdfast.status<{ engines: { kind: string; state: string; detail?: string }[] }>()
        ).engines.find((one) => one.kind === kind);
      const began = Date.now();
      process.kill(pid, "SIGSTOP");
      try {
        await until("it is said", async () => (await stateNow())?.state === "silent");
        assert.ok(Date.now() - began < 20_000, `after ${Date.now() - began} ms`);
        assert.match((await stateNow())?.detail ?? "", /has not answered for 3 s/);
      } finally {
        process.kill(pid, "SIGCONT");
      }
      await until("it is back", async () => (await stateNow())?.state === "ready");
    });
});
