import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { requestRecord } from "../../../test/support/request-record.ts";
import { TelemetryStore } from "./telemetry-store.ts";

describe("SignalStore", () => {
  const dir = mkdtempSync(join(tmpdir(), "holdfast-signal-"));
  let store: TelemetryStore;
  before(async () => {
    store = await TelemetryStore.open({
      dir,
      now: Date.now,
      policies: () => ({}),
      isSource: () => true,
      onProblem: () => undefined,
      onDropped: () => undefined,
    });
  });
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
});
