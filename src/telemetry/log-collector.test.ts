import assert from "node:assert/strict";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { LogCollector } from "./log-collector.ts";
import { LogStore } from "./log-store.ts";

describe("collecting logs", () => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-logs-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  let now = 1_000_000;
  const dir = join(folder, "sources");
  mkdirSync(dir);
  const punched: number[] = [];
  /** Telemetry as it starts, also after a kill: nothing in memory is carried over. */
  const open = () => {
    const store = new LogStore(join(folder, "store"), () => now);
    const collector = new LogCollector({
      dir,
      store,
      now: () => now,
      punchHole: async (_path, bytes) => void punched.push(bytes),
    });
    const texts = (service: string): string[] =>
      store.read({ app: "production/shop", service, since: 0 }, 1_000_000).map(({ text }) => text);
    return { store, collector, texts };
  };
  const source = (service: string): string => {
    const file = join(dir, `${service}.log`);
    const who = { app: "production/shop", service, release: 1, instance: service, role: "service" };
    writeFileSync(`${file}.json`, JSON.stringify(who));
    return file;
  };

  it("keeps whole lines in order, and the rest of one for the next time", async () => {
    const { collector, texts } = open();
    const file = source("whole");
    appendFileSync(file, "one\ntwo\nthr");
    await collector.collect();
    assert.deepEqual(texts("whole"), ["one", "two"]);
    appendFileSync(file, "ee\n");
    await collector.collect();
    assert.deepEqual(texts("whole"), ["one", "two", "three"]);
  });

  it("reads no line twice after a restart, also of a source that has long been quiet", async () => {
    const quiet = source("quiet");
    appendFileSync(quiet, "the only line\n");
    const chatty = source("chatty");
    const first = open();
    await first.collector.collect();
    // Enough to fill more segments than are looked into.
    for (let i = 0; i < 30; i += 1) {
      appendFileSync(chatty, `${"x".repeat(900)}\n`.repeat(1_000));
      now += 3_000;
      await first.collector.collect();
    }
    assert.ok(punched.length > 0, "the space of what was read is given back");
    const second = open();
    await second.collector.collect();
    assert.deepEqual(second.texts("quiet"), ["the only line"]);
    appendFileSync(quiet, "another\n");
    await second.collector.collect();
    assert.deepEqual(second.texts("quiet"), ["the only line", "another"]);
  });

  it("forgets a source that ended, and keeps its lines", async () => {
    const { collector, texts } = open();
    const file = source("ended");
    appendFileSync(file, "last words\n");
    await collector.collect();
    const who = { app: "production/shop", service: "ended", release: 1, instance: "ended" };
    writeFileSync(`${file}.json`, JSON.stringify({ ...who, role: "service", ended: true }));
    now = Date.now() + 11 * 60_000;
    await collector.collect();
    assert.ok(!existsSync(file));
    assert.deepEqual(texts("ended"), ["last words"]);
  });
});
