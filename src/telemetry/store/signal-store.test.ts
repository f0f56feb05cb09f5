import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { requestRecord } from "../../../test/support/request-record.ts";
import { TelemetryStore } from "./telemetry-store.ts";

describe("SignalStore", () => {
  const dir = mkdtempSync(join(tmpdir(), "holdfast-signal-"));
  let store: TelemetryStore;
  const unread: [number, string][] = [];
  before(async () => {
    store = await TelemetryStore.open({
      dir,
      now: Date.now,
      policies: () => ({}),
      isSource: () => true,
      onProblem: () => undefined,
      onDropped: () => undefined,
      onUnreadable: (_, lines, copy) => void unread.push([lines, copy]),
    });
  });
  const rowsAt = (path: string, columns: string) =>
    store.database.read(
      `SELECT ${columns} FROM (${store.rows("requests", { from: 0, to: Date.now() + 60_000 })}) WHERE path = '${path}'`,
    );
  after(async () => {
    await store.close();
    rmSync(dir, { recursive: true, force: true });
  });

  it("tells of every batch once, and again of what a listener failed on", async () => {
    const { requests } = store.signals;
    let isFailing = true;
    const told: number[] = [];
    requests.onLoaded(async ({ batches }) => {
      if (isFailing) throw new Error("out of memory");
      told.push(...batches);
    });
    for (const path of ["/one", "/two"]) {
      await store.append("requests", requestRecord(Date.now(), { path }));
      await assert.rejects(requests.load(), /out of memory/);
    }
    isFailing = false;
    await store.append("requests", requestRecord(Date.now(), { path: "/three" }));
    await requests.load();
    await requests.load();
    assert.equal(told.length, 3);
    assert.equal(new Set(told).size, 3);
    const [row] = await store.database.read(
      `SELECT count(*)::INTEGER AS n FROM (${store.rows("requests", { from: 0, to: Date.now() + 1_000 })})`,
    );
    assert.equal(row?.["n"], 3);
  });

  // Status and HAProxy's word on how it ended → whether it failed.
  for (const [status, ending, failed] of [
    ["200", "----", 0],
    ["404", "----", 0],
    ["500", "----", 1],
    ["503", "SC--", 1],
    ["504", "sH--", 1],
    ["200", "SD--", 1],
    ["200", "sD--", 1],
    ["206", "SD--", 1],
    ["200", "ID--", 1],
    ["-1", "SH--", 1],
    ["-1", "CR--", 0],
    ["200", "CD--", 0],
    ["200", "cD--", 0],
    ["499", "CH--", 0],
    ["101", "SD--", 0],
    ["101", "sD--", 0],
  ] as const)
    it(`takes ${status} that ended ${ending} for ${failed ? "failed" : "well"}`, async () => {
      const path = `/${status}/${ending}`;
      await store.append("requests", requestRecord(Date.now(), { path, status, ending }));
      await store.load(["requests"]);
      assert.deepEqual(await rowsAt(path, "failed"), [{ failed }]);
      // And the same of files of an earlier build, which do not say.
      await store.signals.requests.settle();
      for (const file of store.signals.requests.parts({ from: 0, to: Date.now() + 60_000 }).files) {
        const has = await store.database.read(
          `SELECT 1 FROM parquet_schema('${file}') WHERE name = 'failed'`,
        );
        if (has.length === 0) continue;
        const old = `SELECT * EXCLUDE (failed, url_bytes) FROM read_parquet('${file}')`;
        await store.database.write(`CREATE OR REPLACE TEMP TABLE old AS ${old}`);
        await store.database.write(`COPY old TO '${file}' (FORMAT parquet)`);
      }
      assert.deepEqual(await rowsAt(path, "failed"), [{ failed }]);
    });

  it("has a row too for what was no request, or broke off before it was one", async () => {
    const none = "<BADREQ>";
    const line = requestRecord(Date.now(), {
      ...{ pool: "public", instance: "<NOSRV>", route: "-", client: "203.0.113.9", host: "-" },
      ...{ method: none, path: none, query: none, version: none, status: "408", ending: "cR--" },
      ...{ requestId: "-", continuedTrace: "-", urlBytes: "-", release: "-" },
    });
    const known = unread.length;
    await store.append("requests", line);
    await store.load(["requests"]);
    const rows = await rowsAt("", "app, service, status, method, epoch_ms(time)::DOUBLE AS at");
    assert.equal(rows.length, 1);
    const { at, ...row } = rows[0] as { at: number };
    assert.deepEqual(row, { app: "", service: "edge", status: 408, method: "" });
    assert.ok(Math.abs(Date.now() - at) < 5_000);
    assert.equal(unread.length, known);
  });

  it("keeps no status for a client that left before an answer began", async () => {
    const left = { path: "/left", status: "400", ending: "CH--" };
    await store.append("requests", requestRecord(Date.now(), { ...left, responseMs: "-1" }));
    const refused = { path: "/refused", status: "400", ending: "PR--", responseMs: "-1" };
    await store.append("requests", requestRecord(Date.now(), refused));
    await store.load(["requests"]);
    assert.deepEqual(await rowsAt("/left", "status, failed"), [{ status: -1, failed: 0 }]);
    assert.deepEqual(await rowsAt("/refused", "status"), [{ status: 400 }]);
  });

  it("counts lines that can't be read, and keeps a copy", async () => {
    const good = requestRecord(Date.now(), { path: "/good" });
    const broken = `\xff\xfe half a record\n`;
    await store.append(
      "requests",
      `${good}${broken}${requestRecord(Date.now(), { path: "/good" })}`,
    );
    await store.load(["requests"]);
    assert.equal(
      (await rowsAt("/good", "path")).length + unread.reduce((n, [lines]) => n + lines, 0),
      3,
    );
    for (const [, copy] of unread) assert.match(readFileSync(copy, "latin1"), /half a record/);
  });

  it("keeps a short record, and one with what clients can choose, as one row each", async () => {
    const forged = requestRecord(Date.now(), {
      path: "/forged",
      host: "a\\tb.localhost\\n",
      userAgent: "x\\t500\\ty",
    });
    await store.append("requests", forged);
    await store.load(["requests"]);
    const [row] = await rowsAt("/forged", "host, user_agent, status");
    assert.deepEqual(row, { host: "a\tb.localhost\n", user_agent: "x\t500\ty", status: 200 });
  });
});
