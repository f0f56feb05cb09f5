// Retention and privacy, checked on the files themselves.

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { type RecordValues, requestRecord } from "../../../test/support/request-record.ts";
import { DEFAULT_POLICY, type TelemetryPolicies } from "../../kernel/signal.ts";
import { TelemetryStore } from "./telemetry-store.ts";

const DAY_MS = 24 * 3_600_000;

describe("what is kept", () => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-retention-"));
  const opened: TelemetryStore[] = [];
  after(async () => {
    for (const store of opened) await store.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const began = Date.now();
  let now = began;
  let policies: TelemetryPolicies = {};
  let count = 0;
  const open = async (dir = join(folder, String(count++))) => {
    const store = await TelemetryStore.open({
      dir,
      now: () => now,
      policies: () => policies,
      isSource: () => true,
      onProblem: (_what, error) => assert.fail(String(error)),
      onDropped: () => undefined,
    });
    opened.push(store);
    return { store, dir };
  };
  const record = (values: RecordValues): string => requestRecord(now, values);
  /** Everything that lies below a folder, as text. */
  const bytesBelow = (dir: string): string =>
    readdirSync(dir, { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".parquet") || file.endsWith(".journal"))
      .map((file) => readFileSync(join(dir, file), "latin1"))
      .join("");
  const filesBelow = (dir: string): string[] =>
    readdirSync(dir, { recursive: true, encoding: "utf8" }).filter((file) =>
      file.endsWith(".parquet"),
    );
  const all = { from: 0, to: began + 100 * DAY_MS };

  it("is without addresses and values of queries, also in the files", async () => {
    const { store, dir } = await open();
    await store.append(
      "requests",
      [
        {},
        ...[
          "2001:db8:85a3:8d3:1319:8a2e:370:7348",
          "2a02::1234",
          "::1",
          "fe80::1ff:fe23:4567:890a",
        ].map((client) => ({ client })),
      ]
        .map(record)
        .join(""),
    );
    await store.signals.requests.settle();
    const rows = await store.database.read(
      `SELECT client, query, user_agent FROM (${store.rows("requests", all)}) ORDER BY client`,
    );
    assert.deepEqual(
      rows.map(({ client, query }) => [client, query]),
      [
        ["2001:db8:85a3::", "?email=&page="],
        ["203.0.113.0", "?email=&page="],
        ["2a02::", "?email=&page="],
        ["::", "?email=&page="],
        ["fe80::", "?email=&page="],
      ],
    );
    const text = bytesBelow(dir);
    for (const secret of ["203.0.113.77", "8d3:1319", ":1234", "1ff", "ana%40"])
      assert.ok(!text.includes(secret), secret);
  });

  it("is what the policy of its environment says", async () => {
    const privacy = { addresses: "drop", userAgents: "drop", queryStrings: "drop" } as const;
    policies = { production: { ...DEFAULT_POLICY, privacy } };
    const { store } = await open();
    const staging = { pool: "staging.shop.web.a", instance: "staging.shop.web.r1.1" };
    await store.append("requests", record({}) + record(staging));
    await store.load(["requests"]);
    const rows = await store.database.read(
      `SELECT environment, client, query, user_agent FROM (${store.rows("requests", all)}) ORDER BY environment`,
    );
    assert.deepEqual(
      rows.map((row) => Object.values(row)),
      [
        ["production", "", "", ""],
        ["staging", "203.0.113.0", "?email=&page=", "Mozilla/5.0 (Ana's phone)"],
      ],
    );
    policies = {};
  });

  it("goes when it is too old, by environment, and when there is too much, oldest first", async () => {
    const { store, dir } = await open();
    const requests = store.signals.requests;
    for (const day of [0, 20, 40, 41]) {
      now = began + day * DAY_MS;
      await store.append("requests", record({ path: `/day-${day}` }));
      await requests.settle();
    }
    assert.equal(filesBelow(dir).length, 4);
    const days = async (): Promise<unknown[]> =>
      (
        await store.database.read(`SELECT path FROM (${store.rows("requests", all)}) ORDER BY time`)
      ).map(({ path }) => path);
    await requests.retain();
    assert.deepEqual(await days(), ["/day-20", "/day-40", "/day-41"]);
    const { retention } = DEFAULT_POLICY;
    const [, , newest] = store.archive.files("requests");
    const bytes = (newest?.bytes ?? 0) + 10;
    policies = {
      production: { ...DEFAULT_POLICY, retention: { ...retention, requests: { days: 30, bytes } } },
    };
    await requests.retain();
    assert.deepEqual(await days(), ["/day-41"]);
    policies = {};
    now = began;
  });

  it("is one file an hour once the hour is over, with every row once", async () => {
    const { store } = await open();
    const requests = store.signals.requests;
    for (let i = 0; i < 5; i += 1) {
      await store.append("requests", record({ path: `/${i}` }));
      await requests.settle();
    }
    now = began + 2 * 3_600_000;
    await requests.compact();
    assert.equal(store.archive.files("requests").length, 1);
    const [row] = await store.database.read(
      `SELECT count(*)::INTEGER AS n, count(DISTINCT path)::INTEGER AS d FROM (${store.rows("requests", all)})`,
    );
    assert.deepEqual(row, { n: 5, d: 5 });
    now = began;
  });

  it("gives way, oldest first, where there is no room, and is whole for who comes after", async () => {
    const { store, dir } = await open();
    for (const path of ["/old", "/new"]) {
      await store.append("requests", record({ path }));
      await store.signals.requests.settle();
      now += 3_600_000;
    }
    const gone = store.archive.dropOldest();
    assert.equal(gone?.rows, 1);
    assert.ok(gone && !existsSync(store.archive.pathOf(gone)));
    const { store: after } = await open(dir);
    const rows = await after.database.read(`SELECT path FROM (${after.rows("requests", all)})`);
    assert.deepEqual(rows, [{ path: "/new" }]);
    now = began;
  });
});
