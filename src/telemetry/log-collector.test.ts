import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { LogCollector } from "./log-collector.ts";
import { MonotonicClock } from "./log-journal.ts";
import { LogQuery } from "./log-query.ts";
import { TelemetryStore } from "./store/telemetry-store.ts";

describe("collecting logs", () => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-logs-"));
  const opened: TelemetryStore[] = [];
  const closeAll = async (): Promise<void> => {
    for (const store of opened.splice(0)) await store.close();
  };
  after(async () => {
    await closeAll();
    rmSync(folder, { recursive: true, force: true });
  });
  let now = Date.now();
  const dir = join(folder, "sources");
  mkdirSync(dir);
  const punched: number[] = [];
  const skipped: number[] = [];
  /** Telemetry as it starts, also after a kill: nothing in memory is carried over. */
  const open = async (storeDir = join(folder, "store")) => {
    await closeAll();
    const store = await TelemetryStore.open({
      dir: storeDir,
      now: () => now,
      policies: () => ({}),
      onDropped: () => undefined,
      isSource: (file) => existsSync(join(dir, file)),
      onProblem: (_what, error) => assert.fail(String(error)),
    });
    opened.push(store);
    const collector = new LogCollector({
      dir,
      offsets: store.signals.logs.offsets(),
      append: (lines, mark) => store.signals.logs.journal.append(lines, mark),
      clock: new MonotonicClock(() => now),
      now: () => now,
      punchHole: async (_path, bytes) => void punched.push(bytes),
      onSkipped: (_app, bytes) => void skipped.push(bytes),
    });
    const query = new LogQuery(
      store,
      () => now,
      async () => undefined,
    );
    const find = (service: string, filter: object = {}) =>
      query.find({ app: "shop", service, from: 0, limit: 1_000_000, ...filter });
    const texts = async (service: string, filter: object = {}): Promise<string[]> =>
      (await find(service, filter)).map(({ text }) => text);
    return { store, collector, find, texts };
  };
  const source = (service: string): string => {
    const file = join(dir, `${service}.log`);
    const who = { app: "production/shop", service, release: 1, instance: service, role: "service" };
    writeFileSync(`${file}.json`, JSON.stringify(who));
    return file;
  };

  it("keeps whole lines in order, and the rest of one for the next time", async () => {
    const { collector, texts } = await open();
    const file = source("whole");
    appendFileSync(file, "one\ntwo\r\nthr");
    await collector.collect();
    assert.deepEqual(await texts("whole"), ["one", "two"]);
    appendFileSync(file, "ee\n");
    await collector.collect();
    assert.deepEqual(await texts("whole"), ["one", "two", "three"]);
  });

  it("finds levels, fields and traces in lines of JSON and in plain ones", async () => {
    const { collector, texts, find } = await open();
    const trace = "0af7651916cd43dd8448eb211c80319c";
    const lines = [
      '{"level":"error","msg":"no stock","path":"/cart","trace_id":"0af7651916cd43dd8448eb211c80319c"}',
      '{"level":30,"msg":"pino says info"}',
      "2026-01-01 WARN disk is slow",
      "nothing said",
      '{"broken": ',
      `tab\there, quote " and ${"\u001f"}separator${"\u001e"} too, and a nul\0.`,
    ];
    appendFileSync(source("fields"), `${lines.join("\n")}\n`);
    await collector.collect();
    const found = await find("fields");
    assert.deepEqual(
      found.map(({ level }) => level),
      ["error", "info", "warn", "", "", ""],
    );
    assert.equal(found[0]?.traceId, trace);
    assert.equal(found[5]?.text, 'tab\there, quote " and  separator  too, and a nul.');
    assert.deepEqual(await texts("fields", { level: "warn" }), [lines[0], lines[2]]);
    assert.deepEqual(await texts("fields", { fields: { path: "/cart" } }), [lines[0]]);
    assert.deepEqual(await texts("fields", { text: "STOCK" }), [lines[0]]);
    assert.deepEqual(await texts("fields", { traceId: trace }), [lines[0]]);
  });

  it("reads no line twice and none not at all after a crash, wherever its rows were", async () => {
    const file = source("crash");
    const written: string[] = [];
    const say = (count: number): void => {
      const lines = Array.from({ length: count }, (_, i) => `line ${written.length + i}`);
      written.push(...lines);
      appendFileSync(file, `${lines.join("\n")}\n`);
    };
    let at = join(folder, "crash-0");
    for (let round = 1; round <= 6; round += 1) {
      const { store, collector } = await open(at);
      say(50);
      await collector.collect();
      if (round % 2 === 0) await store.signals.logs.settle();
      say(30);
      await collector.collect();
      if (round % 3 === 0) await store.load();
      // As it would be found after a kill at this moment: nothing was closed.
      const next = join(folder, `crash-${round}`);
      cpSync(at, next, { recursive: true });
      const torn = join(next, "journal", "logs", "999999999999.journal");
      if (round === 5) writeFileSync(torn, "1\u001fproduction\u001fshop\u001fcra");
      at = next;
      now += 1_000;
    }
    const { texts } = await open(at);
    assert.deepEqual(await texts("crash"), written);
  });

  it("passes over what it is too far behind with, counts it and says so", async () => {
    const { collector, texts } = await open();
    const file = source("flood");
    const line = `${"x".repeat(8_191)}\n`;
    for (let i = 0; i < 300; i += 1) appendFileSync(file, line.repeat(128));
    appendFileSync(file, "the last line\n");
    for (let i = 0; i < 40; i += 1) await collector.collect();
    assert.equal(skipped.length, 1);
    const [said] = await texts("flood", { level: "warn" });
    assert.match(said ?? "", /^holdfast: \d+ bytes of output were passed over/);
    assert.deepEqual(await texts("flood", { limit: 1 }), ["the last line"]);
    assert.ok(punched.length > 0, "the space of what was read is given back");
  });

  it("keeps the last line of a source that ended without a line end, and forgets the source", async () => {
    const { collector, texts } = await open();
    const file = source("open");
    appendFileSync(file, "a\nlast words");
    now = Date.now() + 60_000;
    await collector.collect();
    assert.deepEqual(await texts("open"), ["a"], "it may go on");
    const who = { app: "production/shop", service: "open", release: 1, instance: "open" };
    writeFileSync(`${file}.json`, JSON.stringify({ ...who, role: "task", ended: true }));
    await collector.collect();
    assert.deepEqual(await texts("open"), ["a", "last words"]);
    now = Date.now() + 12 * 60_000;
    await collector.collect();
    assert.ok(!existsSync(file));
    now = Date.now();
  });

  it("says of a line that it goes on, where it had to be cut", async () => {
    const { collector, texts } = await open();
    appendFileSync(source("long"), `${"x".repeat(600_000)}\nshort\n`);
    await collector.collect();
    const found = await texts("long");
    assert.deepEqual(
      found.map((text) => /goes on/.test(text)),
      [true, true, false, false],
    );
    assert.equal(
      found.map((text) => text.match(/x/g)?.length ?? 0).reduce((a, b) => a + b),
      600_000,
    );
    assert.equal(found.at(-1), "short");
  });

  it("forgets a source that ended, and keeps its lines", async () => {
    const { store, collector, texts } = await open();
    const file = source("ended");
    appendFileSync(file, "last words\n");
    await collector.collect();
    const who = { app: "production/shop", service: "ended", release: 1, instance: "ended" };
    writeFileSync(`${file}.json`, JSON.stringify({ ...who, role: "service", ended: true }));
    now = Date.now() + 11 * 60_000;
    await collector.collect();
    assert.ok(!existsSync(file));
    assert.deepEqual(await texts("ended"), ["last words"]);
    await store.signals.logs.settle();
    assert.equal(store.archive.offsets["ended.log"], undefined);
  });

  it("frees what an app takes up behind the end of its output", async () => {
    const { collector } = await open();
    const path = join(dir, "greedy.log");
    const whose = {
      app: "production/greedy",
      service: "web",
      release: 1,
      instance: "i",
      role: "web",
    };
    writeFileSync(`${path}.json`, JSON.stringify(whose));
    writeFileSync(path, "one line\n");
    const far = ["--offset", String(1024 ** 3), "--length", String(300 * 1024 ** 2)];
    execFileSync("fallocate", ["--keep-size", ...far, path]);
    assert.ok(statSync(path).blocks * 512 >= 300 * 1024 ** 2);
    await collector.collect();
    assert.ok(statSync(path).blocks * 512 < 1024 ** 2);
    assert.equal(readFileSync(path, "utf8"), "one line\n");
  });
});
