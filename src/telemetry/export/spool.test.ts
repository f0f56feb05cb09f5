import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { Spool } from "./spool.ts";

describe("Spool", () => {
  let dir = "";
  const text = (spool: Spool): string => {
    const parcel = spool.peek();
    return parcel ? spool.read(parcel).toString() : "";
  };
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "holdfast-spool-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it("gives first what came first, also after a start", () => {
    const before = new Spool(dir, 100_000);
    before.add(3, Buffer.from("one"));
    before.add(4, Buffer.from("two"));
    const after = new Spool(dir, 100_000);
    assert.equal(after.records, 7);
    assert.equal(text(after), "one");
    after.add(1, Buffer.from("three"));
    const [first] = [after.peek()];
    assert.ok(first && after.remove(first));
    assert.equal(text(after), "two");
  });

  it("lets the oldest go where there is too much, also one that is under way, and counts it once", () => {
    const spool = new Spool(dir, 8_192);
    spool.add(1, Buffer.from("one"));
    const underWay = spool.peek();
    spool.add(2, Buffer.from("two"));
    spool.add(4, Buffer.from("three"));
    assert.equal(spool.evicted, 1);
    assert.ok(underWay && !spool.remove(underWay), "it was counted already");
    assert.equal(text(spool), "two");
    assert.equal(spool.records, 6);
  });

  it("leaves no half files, of its own or of one that was killed", () => {
    writeFileSync(join(dir, "000000000000007-2.otlp.gz.new"), "half");
    const spool = new Spool(dir, 8_192);
    assert.deepEqual(readdirSync(dir), []);
    rmSync(dir, { recursive: true });
    writeFileSync(dir, "a file where the folder was");
    assert.throws(() => spool.add(1, Buffer.from("one")));
    assert.equal(spool.records, 0);
  });
});
