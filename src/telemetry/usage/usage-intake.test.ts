import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { SEPARATOR } from "../store/journal.ts";
import { USAGE_JOURNAL } from "../store/tables.ts";
import { type Reporter, UsageIntake } from "./usage-intake.ts";

const NOON = Date.parse("2026-11-21T12:00:00Z");
const DAY_MS = 86_400_000;
const FIREFOX = "Mozilla/5.0 (Android 15; Mobile; rv:145.0) Gecko/145.0 Firefox/145.0";
const SOMEBODY: Reporter = {
  pool: "production.shop.web.a",
  address: "203.0.113.77",
  userAgent: FIREFOX,
};

describe("UsageIntake", () => {
  let dir = "";
  let now = NOON;
  let rows: Record<string, string>[] = [];
  let dropped = 0;
  const intake = (): UsageIntake =>
    new UsageIntake({
      dir,
      now: () => now,
      append: async (lines) => {
        for (const line of lines.trimEnd().split("\n")) {
          const values = line.split(SEPARATOR);
          assert.equal(values.length, USAGE_JOURNAL.length);
          rows.push(Object.fromEntries(USAGE_JOURNAL.map((name, i) => [name, values[i] ?? ""])));
        }
      },
      onDropped: (_app, events) => {
        dropped += events;
      },
    });
  const view = (page = "/"): string => JSON.stringify({ events: [{ kind: "view", page }] });
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "holdfast-usage-"));
    now = NOON;
    rows = [];
    dropped = 0;
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it("ties a report to pool, release and trace, and says who only roughly", async () => {
    const served = "r12-000660cb009cec1400000000c052bcd5";
    const events = [{ kind: "vital", page: "/cart", name: "LCP", value: 812.5 }];
    await intake().take(SOMEBODY, JSON.stringify({ served, events }));
    const [row] = rows;
    assert.equal(row?.["visitor"]?.length, 16);
    assert.deepEqual(
      { ...row, visitor: "" },
      {
        timeUs: String(NOON * 1000),
        environment: "production",
        app: "shop",
        service: "web",
        release: "12",
        kind: "vital",
        page: "/cart",
        name: "LCP",
        value: "812.5",
        visitor: "",
        client: "203.0.113.0",
        browser: "Firefox",
        device: "mobile",
        traceId: "000660cb009cec1400000000c052bcd5",
        text: "",
      },
    );
  });

  it("knows a visitor again on the same day, also after a restart, and not on the next", async () => {
    const first = intake();
    await first.take(SOMEBODY, view());
    await intake().take(SOMEBODY, view());
    await first.take({ ...SOMEBODY, address: "203.0.113.78" }, view());
    await first.take({ ...SOMEBODY, pool: "production.blog.web.a" }, view());
    const salt = readFileSync(join(dir, "visitor-salt.json"), "utf8");
    now += DAY_MS;
    await first.take(SOMEBODY, view());
    const [one, again, neighbour, elsewhere, tomorrow] = rows.map((row) => row["visitor"]);
    assert.equal(one, again);
    assert.equal(new Set([one, neighbour, elsewhere, tomorrow]).size, 4);
    assert.notEqual(readFileSync(join(dir, "visitor-salt.json"), "utf8"), salt);
  });

  it("cuts addresses of both kinds before anything is written", async () => {
    const given = ["2001:db8:1:2::5", "2a02::1234", "::1", "::ffff:198.51.100.9", "198.51.100.9"];
    for (const address of given) await intake().take({ ...SOMEBODY, address }, view());
    assert.deepEqual(
      rows.map((row) => row["client"]),
      ["2001:db8:1::", "2a02::", "::", "198.51.100.0", "198.51.100.0"],
    );
  });

  it("keeps what separates values and lines out of them", async () => {
    const events = [{ kind: "error", page: "/a\nb", text: "one\u001ftwo\nthree\u001efour" }];
    await intake().take(SOMEBODY, JSON.stringify({ events }));
    assert.equal(rows.length, 1);
    assert.equal(rows[0]?.["text"], "one two three four");
  });

  it("refuses what is no report, and says where", async () => {
    const taken = (body: unknown): Promise<void> =>
      intake().take(SOMEBODY, typeof body === "string" ? body : JSON.stringify(body));
    await assert.rejects(taken("{"), { code: "usage.malformed" });
    await assert.rejects(taken({ events: [{ kind: "view", page: "elsewhere" }] }), /page/);
    await assert.rejects(taken({ events: [{ kind: "vital", page: "/", value: "1" }] }), /value/);
    await assert.rejects(taken({ events: [{ kind: "view", page: "/".repeat(501) }] }), /page/);
    await assert.rejects(taken({ events: [{ kind: "feedback", page: "/", value: 6 }] }), /value/);
    await assert.rejects(taken({ events: Array(26).fill({ kind: "view", page: "/" }) }), /events/);
    assert.equal(rows.length, 0);
  });

  it("takes what is right of a report of which something is not", async () => {
    const events = [
      { kind: "feedback", page: "/", value: "5" },
      { kind: "view", page: "/" },
    ];
    await intake().take(SOMEBODY, JSON.stringify({ events }));
    assert.deepEqual(
      rows.map(({ kind }) => kind),
      ["view"],
    );
  });

  it("drops what would fill the store in a day", async () => {
    const flooded = intake();
    const event = { kind: "feedback", page: "/", text: "x".repeat(1_000) };
    const flood = JSON.stringify({ events: Array(15).fill(event) });
    for (let i = 0; i < 10_000; i += 1) {
      if (i % 1_000 === 0) now += 60_000;
      await flooded.take(SOMEBODY, flood);
    }
    assert.ok(rows.length * 1_000 < 129 * 1024 ** 2 && dropped > 0, String(rows.length));
    now += DAY_MS;
    dropped = 0;
    await flooded.take(SOMEBODY, flood);
    assert.equal(dropped, 0);
  });

  it("drops what comes too fast, counted, for that app and that minute only", async () => {
    const flooded = intake();
    const flood = JSON.stringify({ events: Array(25).fill({ kind: "view", page: "/" }) });
    for (let i = 0; i < 1_201; i += 1) await flooded.take(SOMEBODY, flood);
    assert.equal(rows.length, 30_000);
    assert.equal(dropped, 25);
    await flooded.take({ ...SOMEBODY, pool: "production.blog.web.a" }, view());
    now += 60_000;
    await flooded.take(SOMEBODY, view());
    assert.equal(rows.length, 30_002);
  });
});
