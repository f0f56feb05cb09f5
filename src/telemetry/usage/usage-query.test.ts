import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { requestRecord } from "../../../test/support/request-record.ts";
import type { UsageReport } from "../../kernel/signal.ts";
import { TelemetryStore } from "../store/telemetry-store.ts";
import { UsageIntake } from "./usage-intake.ts";
import { UsageQuery } from "./usage-query.ts";

const NOW = Date.parse("2026-11-21T12:00:00Z");

describe("UsageQuery", () => {
  const dir = mkdtempSync(join(tmpdir(), "holdfast-usage-query-"));
  let store: TelemetryStore;
  let now = NOW;
  const load = (id: number, page: string, ...cls: readonly number[]): string => {
    const served = `r3-${id.toString(16).padStart(32, "0")}`;
    const vitals = cls.map((value) => ({ kind: "vital", page, name: "CLS", value }));
    return JSON.stringify({ served, events: [{ kind: "view", page }, ...vitals] });
  };
  const report = (limit: number): Promise<UsageReport> =>
    new UsageQuery(store).report({
      from: NOW - 1_000,
      to: NOW + 10_000,
      environment: "production",
      app: "shop",
      limit,
    });

  before(async () => {
    store = await TelemetryStore.open({
      dir,
      now: () => now,
      policies: () => ({}),
      isSource: () => true,
      onProblem: () => undefined,
      onDropped: () => undefined,
    });
    const intake = new UsageIntake({
      dir,
      now: () => now,
      append: (lines) => store.append("usage", lines),
      onDropped: () => undefined,
    });
    const somebody = { pool: "production.shop.web.a", address: "203.0.113.7", userAgent: "x" };
    // One that stays and jumps ever more, and three that don't jump at all.
    for (const [i, value] of [0.1, 0.3, 0.5, 0.9].entries()) {
      now = NOW + i;
      const events = [{ kind: "vital", page: "/", name: "CLS", value }];
      await intake.take(somebody, JSON.stringify({ served: `r3-${"f".repeat(32)}`, events }));
    }
    for (const id of [1, 2, 3]) await intake.take(somebody, load(id, "/", 0));
    await intake.take(somebody, load(4, "/cart"));
    await store.append("requests", requestRecord(NOW, { path: "/broken", status: "500" }));
  });
  after(async () => {
    await store.close();
    rmSync(dir, { recursive: true, force: true });
  });

  it("counts a vital of a page load once, as it was at last", async () => {
    const { pages } = await report(10);
    // 75th percentile of 0, 0, 0 and 0.9.
    assert.ok(Math.abs((pages[0]?.cls ?? 0) - 0.225) < 1e-9, String(pages[0]?.cls));
    assert.equal(pages[0]?.views, 3);
  });

  it("lists pages by views and by failures, each as long as asked for", async () => {
    const names = (list: readonly { readonly page: string }[]): string[] =>
      list.map(({ page }) => page);
    const found = await report(10);
    assert.deepEqual(names(found.pages), ["/", "/cart"]);
    assert.deepEqual(names(found.failing), ["/broken"]);
    const first = await report(1);
    assert.deepEqual(names(first.pages), ["/"]);
    assert.deepEqual(names(first.failing), ["/broken"]);
    assert.deepEqual(first.slowest, []);
  });
});
