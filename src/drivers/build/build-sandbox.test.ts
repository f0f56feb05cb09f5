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

  it("says how a command ended: by a status, a signal, or its time", async () => {
    const ends = async (command: string, timeoutMs = 20_000): Promise<string> => {
      const sandbox = await BuildSandbox.open({
        ...{ dir, home: dir, app: "staging/shop", uid: undefined },
        nodeDir: dirname(dirname(process.execPath)),
        resources: defaultBuildResources,
        timeoutMs,
        logFile: join(dir, "log"),
        signal: AbortSignal.timeout(60_000),
      });
      try {
        return await sandbox.run([command]).then(
          () => "well",
          (error: unknown) => String(error),
        );
      } finally {
        await sandbox.close();
      }
    };
    assert.match(await ends("exit 3"), /ended with exit status 3$/);
    assert.match(await ends("kill -9 $$"), /was ended by SIGKILL|exit status 137, SIGKILL/);
    assert.match(await ends("sh -c 'kill -9 $$'; exit $?"), /exit status 137, SIGKILL/);
    assert.match(await ends("sleep 30", 1_000), /took longer than 1 s \(build.timeout\)/);
  });
});
