import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { Journal } from "./journal.ts";

describe("journal", () => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-journal-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  let count = 0;
  const fresh = (): string => join(folder, String(count++));
  const linesOf = (journal: Journal): string[] =>
    journal
      .batches()
      .flatMap((batch) => readFileSync(journal.fileOf(batch), "utf8").split("\n"))
      .filter((line) => line !== "" && !line.startsWith("\u001e"));

  it("keeps appends whole and in order, with their marks", async () => {
    const journal = new Journal(fresh(), 0);
    await Promise.all([journal.append("one\ntwo\n", "m1"), journal.append("three\n", "m2")]);
    await journal.seal();
    await journal.append("four\n");
    assert.deepEqual(linesOf(journal), ["one", "two", "three", "four"]);
    assert.deepEqual(journal.batches(), [1, 2]);
    assert.deepEqual(journal.sealed(), [1]);
    assert.deepEqual(journal.marksOf(1), ["m1", "m2"]);
  });

  it("cuts off an append that was torn anywhere, and nothing else", async () => {
    const dir = fresh();
    const journal = new Journal(dir, 0);
    await journal.append("kept 1\n", "a");
    await journal.append("kept 2\n");
    await journal.seal();
    const file = journal.fileOf(1);
    const whole = readFileSync(file).length;
    const torn = "torn 1\ntorn 2\n\u001emark\n";
    for (let length = 0; length < torn.length; length += 1) {
      truncateSync(file, whole);
      appendFileSync(file, torn.slice(0, length));
      assert.deepEqual(linesOf(new Journal(dir, 0)), ["kept 1", "kept 2"], `torn after ${length}`);
    }
    appendFileSync(file, torn);
    assert.equal(linesOf(new Journal(dir, 0)).length, 4);
  });

  it("is sealed also while appends never pause", async () => {
    const journal = new Journal(fresh(), 0);
    let isOn = true;
    const busy = [1, 2, 3].map(async () => {
      while (isOn) await journal.append("line\n");
    });
    for (let i = 0; i < 5; i += 1) await journal.seal();
    isOn = false;
    await Promise.all(busy);
    assert.ok(journal.sealed().length >= 4);
  });

  it("gives no number twice, also after all batches were dropped", async () => {
    const dir = fresh();
    const journal = new Journal(dir, 0);
    await journal.append("one\n");
    await journal.seal();
    journal.drop(1);
    const again = new Journal(dir, 1);
    await again.append("two\n");
    assert.deepEqual(again.batches(), [2]);
  });
});
