import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { type RecordValues, requestRecord } from "../../test/support/request-record.ts";
import { type ArmCounts, type ComparisonQuestion, LATENCY_LEVELS } from "../kernel/signal.ts";
import { ComparisonQuery } from "./comparison-query.ts";
import { logLine } from "./log-journal.ts";
import { TelemetryStore } from "./store/telemetry-store.ts";

const NOW = Date.parse("2026-11-21T12:00:00Z");
const TRACE = "0af7651916cd43dd8448eb211c80319c";

describe("ComparisonQuery", () => {
  const dir = mkdtempSync(join(tmpdir(), "holdfast-comparison-"));
  let store: TelemetryStore;
  const compare = (question: Partial<ComparisonQuestion> = {}): Promise<readonly ArmCounts[]> =>
    new ComparisonQuery(store).compare({
      environment: "production",
      app: "shop",
      releases: [1, 2],
      from: NOW,
      through: NOW + 10_000,
      latencyFrom: NOW,
      bounds: {},
      quantiles: false,
      ...question,
    });
  const append = (at: number, release: number, values: RecordValues = {}): Promise<void> =>
    store.append(
      "requests",
      requestRecord(at, { instance: `production.shop.web.r${release}.1`, ...values }),
    );

  before(async () => {
    store = await TelemetryStore.open({
      dir,
      now: () => NOW + 20_000,
      policies: () => ({}),
      isSource: () => true,
      onProblem: () => undefined,
      onDropped: () => undefined,
    });
    for (let ms = 1; ms <= 100; ms += 1) await append(NOW + 10, 1, { totalMs: String(ms) });
    await append(NOW - 5_000, 1, { totalMs: "5500" });
    await append(NOW - 5_000, 1, { totalMs: "100" });
    await append(NOW + 9_990, 1, { totalMs: "100" });
    for (const status of ["200", "404", "500", "503"]) await append(NOW + 20, 2, { status });
    await append(NOW + 20, 2, { status: "-1", ending: "SH--" });
    await append(NOW + 20, 2, { status: "-1", ending: "CD--" });
    for (const at of [NOW - 15_000, NOW - 15_000, NOW - 25_000])
      for (const [client, status] of [
        ["198.51.100.1", "500"],
        ["203.0.113.2", "200"],
        ["192.0.2.3", "200"],
      ] as const)
        await append(at, 6, { client, status });
    const stream = { totalMs: "9000", queueMs: "1", connectMs: "2", responseMs: "6" };
    await append(NOW + 20, 5, { ...stream, pool: "production.shop.web.a.side" });
    await append(NOW + 20, 5, { ...stream, status: "101" });
    // Gave up after a second and more, and before; the edge did after four.
    await append(NOW + 20, 4, { status: "-1", ending: "CH--", totalMs: "3000" });
    await append(NOW + 20, 4, { status: "-1", ending: "CH--", totalMs: "900" });
    await append(NOW + 20, 4, { status: "504", ending: "sH--", totalMs: "4000" });
    await append(NOW + 20, 4, { status: "200", totalMs: "2" });
    await append(NOW + 20, 2, { status: "500", route: "tester" });
    await append(NOW + 20, 2, { pool: "production.other.web.a", status: "500" });
    await append(NOW + 20, 2, { pool: "staging.shop.web.a", status: "500" });
    await append(NOW + 20, 3, { status: "500" });
    for (const [path, values] of [
      ["/api/orders/4711", { status: "401" }],
      ["/api/orders/4712", { bytesOut: "4000" }],
      ["/api/orders/4711/lines/9/more", { status: "302" }],
      ["/", { status: "304" }],
      ["/", { bytesOut: "90" }],
      ["/", { bytesOut: "90000" }],
      ["/", { method: "HEAD", bytesOut: "90" }],
      ["/", { status: "206", bytesOut: "90" }],
      ["/", { status: "204", bytesOut: "90" }],
      ["/", { status: "500", bytesOut: "90" }],
    ] as const)
      await append(NOW + 20, 7, { path, ...values });
    const whose = {
      environment: "production",
      app: "shop",
      service: "web",
      release: 2,
      instance: "production.shop.web.r2.1",
      level: "",
    };
    const said = JSON.stringify({ level: "error", trace_id: TRACE, msg: "broken" });
    for (let i = 0; i < 3; i += 1)
      await store.append("logs", logLine(whose, (NOW + 30 + i) * 1000, said));
    await store.append("logs", logLine(whose, (NOW + 40) * 1000, "ERROR without a trace"));
  });
  after(async () => {
    await store.close();
    rmSync(dir, { recursive: true, force: true });
  });

  it("counts what ended in the stretch, by its end; testers, others and clients that left are out", async () => {
    const [one, two, ...more] = await compare();
    assert.equal(more.length, 0);
    assert.equal(one?.requests, 101, "with the one that began before and ended inside");
    assert.equal(one.errors, 0);
    assert.equal(two?.requests, 5);
    assert.equal(two.errors, 3, "500, 503 and no answer");
    assert.equal(two.timed, 2);
  });

  it("counts requests that logged an error once each", async () => {
    const [one, two] = await compare();
    assert.equal(one?.logErrors, 0);
    assert.equal(two?.logErrors, 1);
  });

  it("counts answers over bounds of their own for each release", async () => {
    const [one, two] = await compare({
      bounds: { web: { 1: [50, 90], 2: [1, 2] } },
      latencyFrom: NOW,
    });
    assert.deepEqual(one?.over, [50, 10]);
    assert.deepEqual(two?.over, [2, 0]);
  });

  it("tells quantiles of what began after the warm-up", async () => {
    const [one] = await compare({ quantiles: true });
    assert.equal(one?.quantiles.length, 201);
    assert.ok(Math.abs((one.quantiles[100] ?? 0) - 50.5) < 0.01, String(one.quantiles[100]));
    const [later] = await compare({ quantiles: true, latencyFrom: NOW + 5_000 });
    assert.equal(later?.timed, 0);
    assert.deepEqual(later.quantiles, []);
  });

  it("times those who waited for a second and more in vain, whoever gave up", async () => {
    const [four] = await compare({ releases: [4], bounds: { web: { 4: [2_500, 3_500] } } });
    assert.deepEqual([four?.requests, four?.errors, four?.timed], [2, 1, 3]);
    assert.deepEqual(four?.over, [2, 1]);
  });

  it("leaves out what began before, where it is to", async () => {
    const [one] = await compare({ beganFrom: NOW });
    assert.equal(one?.requests, 100, "without the one that began before and ended inside");
  });

  it("takes the first byte for the latency of streams and tunnels", async () => {
    const [five] = await compare({ releases: [5], quantiles: true });
    assert.deepEqual([five?.timed, five?.quantiles[200]], [2, 9]);
  });

  it("sums up outcomes by client and by slices of ten seconds", async () => {
    const [six] = await compare({
      releases: [6],
      clustering: true,
      from: NOW - 60_000,
      latencyFrom: 0,
    });
    const sums = six?.clustering?.errors.toSorted((a, b) => a.clusters - b.clusters);
    // By default addresses are kept without their last part. Two slices: of six and of three requests, of which two and one failed; three clients.
    assert.deepEqual(sums, [
      {
        ...{ clusters: 2, total: 9, totalSquared: 36 + 9, bad: 3 },
        ...{ badSquared: 4 + 1, badTotal: 12 + 3 },
      },
      {
        ...{ clusters: 3, total: 9, totalSquared: 27, bad: 3 },
        ...{ badSquared: 9, badTotal: 9 },
      },
    ]);
    assert.equal(six?.clustering?.slow.length, LATENCY_LEVELS.length);
    assert.equal(six?.clustering?.slow[0]?.[0]?.total, 6, "what failed is not timed");
  });

  it("counts odd answers, and each route without what names one order", async () => {
    const [seven] = await compare({
      releases: [7],
      sizes: { web: [1_000, 50_000] },
      routes: true,
      quantiles: true,
      clustering: true,
    });
    assert.deepEqual(seven?.odd, {
      redirects: { total: 10, bad: 1 },
      refusals: { total: 10, bad: 1 },
      small: { total: 3, bad: 1 },
      large: { total: 3, bad: 1 },
    });
    assert.deepEqual(seven?.routes, {
      "GET /": { total: 6, bad: 1 },
      "HEAD /": { total: 1, bad: 0 },
      "GET /api/orders/*": { total: 2, bad: 1 },
      "GET /api/orders/*/lines": { total: 1, bad: 0 },
    });
    assert.equal(Math.round(seven?.sizes?.[1] ?? 0), 81_400);
    assert.equal(seven?.logMs?.count, 9);
    assert.equal(seven?.clustering?.odd?.refusals[0]?.bad, 1);
    assert.equal(seven?.clustering?.odd?.small[0]?.total, 3);
  });

  it("says nothing where nothing was asked for", async () => {
    assert.deepEqual(await compare({ releases: [9] }), []);
  });
});
