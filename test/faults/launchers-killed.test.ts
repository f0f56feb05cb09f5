// Launchers are small and first to go when memory is short: what they started is still known, is not
// started twice, and is ended by `down --all`.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { AppFolder, ECHO_SERVER } from "../support/app-folder.ts";
import { ask } from "../support/ask.ts";
import { Installation } from "../support/installation.ts";
import { until } from "../support/wait.ts";

describe("with its launchers killed", { timeout: 240_000 }, () => {
  const holdfast = new Installation();
  const folder = new AppFolder({
    "server.js": ECHO_SERVER,
    "holdfast.yaml": `name: orphan
stores: { postgres: {}, redis: {} }
services: { web: { command: node server.js, routes: [{ host: orphan.localhost }] } }
workers: { liar: { command: "env -i HOLDFAST_DAEMON=${holdfast.home}/run/control-plane sleep 86400" } }
`,
  });
  const ofInstallation = (pattern: RegExp): number[] =>
    readdirSync("/proc")
      .filter((pid) => /^\d+$/.test(pid))
      .map(Number)
      .filter((pid) => {
        const [command, variables] = ["cmdline", "environ"].map((file) => read(pid, file));
        const isOurs = `${command}${variables}`.includes(holdfast.home);
        return isOurs && pattern.test(command ?? "") && pid !== process.pid;
      });
  const killLaunchers = (): number => {
    const launchers = ofInstallation(/launch\.sh|keep-running\.sh/);
    for (const pid of launchers) {
      try {
        process.kill(pid, "SIGKILL");
      } catch (error) {
        // It has ended since it was listed: one of a deploy that was just done.
        if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
      }
    }
    return launchers.length;
  };
  const count = (): number => ofInstallation(/./).length;

  before(async () => {
    await holdfast.ok("up", "--install");
    await holdfast.ok("deploy", folder.dir);
  });
  after(async () => {
    await holdfast.close();
    folder.remove();
  });

  it("ends an app that calls itself the control plane no sooner than with the apps", async () => {
    const before = performance.now();
    await holdfast.ok("down");
    assert.ok(performance.now() - before < 10_000, "nobody waits for it");
    assert.ok(ofInstallation(/^sleep 864/).length > 0, "and it is not shot for it");
    await holdfast.ok("up");
  });

  it("serves on, is adopted, and nothing of it is started a second time", async () => {
    const instances = ofInstallation(/^node server\.js/).length;
    const [postmaster] = ofInstallation(/^\S*bin\/postgres -D/);
    assert.ok(killLaunchers() > 5);
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    assert.equal((await ask(holdfast, { host: "orphan.localhost", path: "/" })).status, 200);
    await holdfast.ok("up");
    await until("status says that all is well", async () => {
      const { code, stdout } = await holdfast.run(["status"]);
      return code === 0 && /orphan/.test(stdout);
    });
    assert.equal(ofInstallation(/^node server\.js/).length, instances);
    assert.deepEqual(ofInstallation(/^\S*bin\/postgres -D/).slice(0, 1), [postmaster]);
    await holdfast.ok("deploy", folder.dir);
    await holdfast.ok("restart", "orphan");
  });

  it("ends all of it with down --all, and says nothing that is not so", async () => {
    killLaunchers();
    const { code, stdout, stderr } = await holdfast.run(["down", "--all"]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /everything is stopped/);
    await until("nothing is left", async () => count() === 0);
    await holdfast.ok("up");
    await until("it serves again", async () =>
      ask(holdfast, { host: "orphan.localhost", path: "/" }).then(
        ({ status }) => status === 200,
        () => false,
      ),
    );
  });
});

function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8").replaceAll("\0", " ");
  } catch {
    return "";
  }
}
