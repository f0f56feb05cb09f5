import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { ArtifactStore } from "./artifact-store.ts";

describe("the artifact store", () => {
  const dir = mkdtempSync(join(tmpdir(), "holdfast-artifacts-"));
  const scratch = join(dir, "scratch");
  mkdirSync(scratch);
  after(() => rmSync(dir, { recursive: true }));
  const store = new ArtifactStore(dir, scratch);

  const tree = (text: string): string => {
    const path = mkdtempSync(join(scratch, "made-"));
    writeFileSync(join(path, "page.txt"), text);
    return path;
  };

  it("drops nothing that was only just made, whenever others are dropped", async () => {
    const used = new Set<string>();
    let pruned: Promise<void> | undefined;
    const added = store.add(tree("one"), new Map(), ({ digest }) => {
      used.add(digest);
      pruned = store.prune((one) => used.has(one));
    });
    const { digest } = await added;
    await pruned;
    assert.equal(await store.findFault(digest), undefined);
    // The same once more: nothing may ask for it between the look and the word.
    used.clear();
    await store.add(tree("one"), new Map(), () => used.add(digest));
    await store.prune((one) => used.has(one));
    assert.ok(store.has(digest));
  });

  it("has one whole or not at all while it is removed, and can take it again at once", async () => {
    const made = tree("two");
    for (let i = 0; i < 2000; i += 1) writeFileSync(join(made, `file-${i}`), String(i));
    const { digest } = await store.add(made, new Map(), () => undefined);
    const pruned = store.prune((one) => one !== digest);
    assert.equal(store.has(digest), false);
    const again = tree("two");
    for (let i = 0; i < 2000; i += 1) writeFileSync(join(again, `file-${i}`), String(i));
    await store.add(again, new Map(), () => undefined);
    await pruned;
    assert.equal(await store.findFault(digest), undefined);
    assert.ok(existsSync(join(store.dirOf(digest), "file-1999")));
    const left = readdirSync(scratch).filter((name) => name.startsWith("removed-"));
    assert.deepEqual(left, []);
  });
});
