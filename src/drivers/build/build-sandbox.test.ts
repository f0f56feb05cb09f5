import assert from "node:assert/strict";
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe, it } from "node:test";
import { defaultBuildResources } from "../../resources/app/manifest.ts";
import { BuildSandbox } from "./build-sandbox.ts";

describe("what a build leaves", () => {
  const dir = mkdtempSync(join(tmpdir(), "holdfast-sandbox-"));
  after(() => rmSync(dir, { recursive: true }));

  it("is nobody's any more, also not of who was given one of its files open for writing", async () => {
    const source = join(dir, "source");
    writeFileSync(source, "honest");
    const sandbox = await BuildSandbox.open({
      ...{ dir, home: dir, app: "staging/shop", uid: undefined },
      nodeDir: dirname(dirname(process.execPath)),
      resources: defaultBuildResources,
      timeoutMs: 20_000,
      logFile: join(dir, "log"),
      signal: AbortSignal.timeout(60_000),
    });
    await sandbox.copy(source, "page.txt");
    await sandbox.run(["echo made > made.txt"]);
    const held = openSync(join(sandbox.tree, "page.txt"), "r+");
    const before = statSync(join(sandbox.tree, "made.txt")).ino;
    const taken = join(dir, "taken");
    await sandbox.takeOver(taken);
    writeSync(held, "forged", 0);
    closeSync(held);
    await sandbox.close();
    assert.equal(readFileSync(join(taken, "page.txt"), "utf8"), "honest");
    assert.notEqual(statSync(join(taken, "made.txt")).ino, before);
  });
});
