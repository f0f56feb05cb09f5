// Telemetry on a file system that is really full: the oldest data makes room, what is new is taken
// in, and both are said. Random text, so that it can't be packed away.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { appendFileSync, mkdtempSync, readdirSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { logLine } from "../../src/telemetry/log-journal.ts";
import { TelemetryStore } from "../../src/telemetry/store/telemetry-store.ts";
import { until } from "../support/wait.ts";

const SIZE_MB = 64;
const BATCH_LINES = 4_000;
const LINE_BYTES = 400;
const BATCHES = 150;
const HOUR_MS = 3_600_000;
const BEGAN = Date.parse("2026-11-20T00:30:00Z");
const isRoot = process.getuid?.() === 0;

describe("telemetry on a full disk", {
  timeout: 300_000,
  skip: isRoot ? false : "mounting a small file system needs root",
}, () => {
  const dir = mkdtempSync(join(tmpdir(), "holdfast-small-"));
  const dropped: number[] = [];
  const problems: string[] = [];
  let now = BEGAN;
  let store: TelemetryStore;
  const open = (): Promise<TelemetryStore> =>
    TelemetryStore.open({
      dir,
      now: () => now,
      policies: () => ({}),
      isSource: () => true,
      onProblem: (what) => problems.push(what),
      onDropped: (_signal, rows) => dropped.push(rows),
    });
  const whose = {
    environment: "production",
    app: "shop",
    service: "web",
    release: 1,
    instance: "production.shop.web.r1.1",
    level: "info",
  };
  /** One batch: `<number>-<line>` and noise. */
  const batch = (number: number): string =>
    Array.from({ length: BATCH_LINES }, (_, line) =>
      logLine(
        whose,
        now * 1_000 + line,
        `${number}-${line} ${randomBytes(LINE_BYTES).toString("base64").slice(0, LINE_BYTES)}`,
      ),
    ).join("");
  const kept = async (): Promise<Map<number, number>> => {
    await store.load();
    const rows = await store.database.read(`
      SELECT split_part(text, '-', 1)::INTEGER AS batch, count(*)::DOUBLE AS n,
             count(DISTINCT split_part(text, ' ', 1))::DOUBLE AS d
      FROM (${store.rows("logs", { from: 0, to: now + HOUR_MS })}) GROUP BY ALL`);
    for (const { n, d } of rows) assert.equal(n, d, "no line is there twice");
    return new Map(rows.map((row) => [Number(row["batch"]), Number(row["n"])]));
  };

  before(async () => {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${SIZE_MB}m,mode=700`, "holdfast-test", dir]);
    store = await open();
  });
  after(async () => {
    await store.close();
    execFileSync("umount", ["--lazy", dir]);
    rmSync(dir, { recursive: true, force: true });
  });

  it("takes in three times what there is room for; the oldest goes, counted, and nothing else", async () => {
    for (let number = 0; number < BATCHES; number += 1) {
      await store.append("logs", batch(number));
      // Sometimes it is the journal for which there is no room, sometimes a file.
      if (number % 4 === 3) await store.settle("logs", true);
      now += HOUR_MS;
    }
    const found = await kept();
    assert.equal(found.get(BATCHES - 1), BATCH_LINES, "the newest is there, whole");
    const oldest = Math.min(...found.keys());
    assert.ok(oldest > BATCHES / 3, `what is left begins with ${oldest}`);
    for (let number = oldest; number < BATCHES; number += 1)
      assert.equal(found.get(number), BATCH_LINES, `batch ${number} of ${oldest} to ${BATCHES}`);
    const gone = dropped.reduce((sum, rows) => sum + rows, 0);
    const left = [...found.values()].reduce((sum, rows) => sum + rows, 0);
    assert.equal(gone + left, BATCHES * BATCH_LINES, "what went is counted to the line");
    const { blocks, bavail } = statfsSync(dir);
    assert.ok(bavail / blocks < 0.5, "the disk was full indeed");
  });

  it("leaves no file behind that nobody knows of", async () => {
    const unknown = (): string[] => {
      const known = new Set(store.archive.files("logs").map(({ path }) => basename(path)));
      const there = readdirSync(join(dir, "archive"), { recursive: true, encoding: "utf8" });
      const files = there.filter((path) => path.endsWith(".parquet"));
      return files.map((path) => basename(path)).filter((name) => !known.has(name));
    };
    // One that is being written just now is known a moment later.
    await until(`nobody knows of ${unknown().join(", ")}`, () => unknown().length === 0);
  });

  it("is whole for who comes after", async () => {
    const sum = (counts: Iterable<number>): number =>
      [...counts].reduce((total, count) => total + count, 0);
    const before = await kept();
    const gone = sum(dropped);
    await store.close();
    store = await open();
    const now = await kept();
    // On a disk that is still full the oldest may have to go meanwhile: counted, and nothing else.
    for (const [number, lines] of now) assert.equal(lines, before.get(number), `batch ${number}`);
    assert.equal(sum(before.values()) - sum(now.values()), sum(dropped) - gone);
    assert.deepEqual(
      problems.filter((what) => !/No space|ENOSPC/.test(what)),
      [],
    );
  });

  it("names the disk where nothing is left to go, and answers what is there", async () => {
    const filler = join(dir, "somebody-elses");
    const fill = (): void => {
      const piece = Buffer.alloc(64 * 1024);
      try {
        for (;;) appendFileSync(filler, piece);
      } catch {
        // It is full now.
      }
    };
    let refusal: unknown;
    for (let tries = 0; tries < 200 && refusal === undefined; tries += 1) {
      fill();
      await store.append("logs", batch(BATCHES + tries)).catch((error: unknown) => {
        refusal = error;
      });
    }
    assert.match(String(refusal), new RegExp(`the disk of telemetry, ${dir}, is full`));
    assert.ok((await kept()).size >= 0, "questions are answered");
    rmSync(filler);
    await store.append("logs", batch(BATCHES + 500));
    assert.equal((await kept()).get(BATCHES + 500), BATCH_LINES, "and what comes then is taken");
  });
});
