// A full disk stops deploys with a clear error and corrupts nothing: on a small file system of its
// own.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { AppFolder, ECHO_SERVER } from "../support/app-folder.ts";
import { ask } from "../support/ask.ts";
import { Installation } from "../support/installation.ts";

const SIZE_MB = 900;
const isRoot = process.getuid?.() === 0;

describe("a full disk", {
  timeout: 300_000,
  skip: isRoot ? false : "mounting a small file system needs root",
}, () => {
  const home = mkdtempSync(join(tmpdir(), "holdfast-full-"));
  const app = new AppFolder({
    "server.js": ECHO_SERVER,
    "holdfast.yaml":
      "name: echo\nservices: { web: { command: node server.js, routes: [{ host: echo.localhost }] } }",
  });
  let holdfast: Installation;

  before(async () => {
    execFileSync("mount", [
      "-t",
      "tmpfs",
      "-o",
      `size=${SIZE_MB}m,mode=711`,
      "holdfast-test",
      home,
    ]);
    chmodSync(home, 0o711);
    holdfast = new Installation({}, home);
    await holdfast.ok("up", "--install");
    await holdfast.ok("deploy", app.dir);
  });
  after(async () => {
    await holdfast.run(["down", "--all"]);
    execFileSync("umount", ["--lazy", home]);
    rmSync(home, { recursive: true, force: true });
    app.remove();
  });

  it("stops a deploy, says so, keeps serving, and goes on once there is room", async () => {
    const { bavail, bsize } = statfsSync(home);
    const ballast = join(home, "ballast");
    writeFileSync(ballast, Buffer.alloc(Math.max(0, bavail * bsize - 4 * 1024 ** 2)));
    const { code, stdout, stderr } = await holdfast.run(["deploy", app.dir]);
    assert.equal(code, 3, stdout + stderr);
    assert.match(stdout + stderr, /is full/);
    assert.match(stdout + stderr, /free some space/);
    assert.equal((await ask(holdfast, { host: "echo.localhost" })).status, 200);
    // To the last byte: what runs must not depend on room for a line of log.
    writeFileSync(`${ballast}-2`, Buffer.alloc(3 * 1024 ** 2));
    try {
      writeFileSync(`${ballast}-3`, Buffer.alloc(8 * 1024 ** 2));
    } catch {
      // That it does not fit is the point.
    }
    for (let i = 0; i < 50; i += 1)
      assert.equal((await ask(holdfast, { host: "echo.localhost" })).status, 200);
    for (const suffix of ["", "-2", "-3"]) rmSync(ballast + suffix, { force: true });
    await holdfast.ok("deploy", app.dir);
    assert.ok((await holdfast.json<{ intact: boolean }>("audit", "--verify")).intact);
  });
});
