// Telemetry that can't start: the edge serves on, at no cost of its own, and what it had to say is read
// once telemetry is there again.

import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout } from "node:timers/promises";
import { AppFolder, ECHO_SERVER } from "../support/app-folder.ts";
import { ask } from "../support/ask.ts";
import { Installation } from "../support/installation.ts";
import { until } from "../support/wait.ts";

const HOST = "away.localhost";
const REQUESTS = 60;

describe("telemetry that is away", { timeout: 240_000 }, () => {
  const holdfast = new Installation();
  const folder = new AppFolder({
    "server.js": ECHO_SERVER,
    "holdfast.yaml": `name: away\nservices: { web: { command: node server.js, health: { path: /healthz }, routes: [{ host: ${HOST} }] } }\n`,
  });
  const socket = join(holdfast.home, "run", "telemetry.sock");
  const processes = (what: string): number[] =>
    readdirSync("/proc").flatMap((pid) => {
      try {
        const text = readFileSync(`/proc/${pid}/cmdline`, "utf8");
        const isOurs = readFileSync(`/proc/${pid}/environ`, "utf8").includes(holdfast.home);
        return /^\d+$/.test(pid) && text.includes(what) && isOurs ? [Number(pid)] : [];
      } catch {
        return [];
      }
    });
  /** Of all processes of the edge so far, in clock ticks: hundredths of a second. */
  const edgeTicks = (): number =>
    processes("haproxy").reduce((sum, pid) => {
      const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
      return sum + Number(fields[11]) + Number(fields[12]);
    }, 0);

  before(async () => {
    await holdfast.ok("up", "--install");
    await holdfast.ok("deploy", folder.dir);
  });
  after(async () => {
    rmSync(socket, { recursive: true, force: true });
    await holdfast.close();
    folder.remove();
  });

  it("costs the edge nothing, and no record is lost", async () => {
    for (const pid of processes("bin/telemetry.ts").filter(isNode)) process.kill(pid, "SIGKILL");
    rmSync(socket, { force: true });
    // It ends at each start: it can't have its socket.
    mkdirSync(socket);
    await until("it keeps ending", () => processes("bin/telemetry.ts").filter(isNode).length === 0);
    const before = edgeTicks();
    for (let i = 0; i < REQUESTS; i += 1)
      assert.equal((await ask(holdfast, { host: HOST, path: "/" })).status, 200);
    await setTimeout(4_000);
    const ticks = edgeTicks() - before;
    assert.ok(ticks < 100, `${ticks / 100} s of CPU in four seconds`);
    rmdirSync(socket);
    await until("all of them are there", async () => {
      const { code, stdout } = await holdfast.run([
        "query",
        "SELECT count(*) AS n FROM requests WHERE app = 'away' AND path = '/'",
        "--json",
      ]);
      return code === 0 && stdout.includes(`[["${REQUESTS}"]]`);
    });
  });
});

const isNode = (pid: number): boolean =>
  readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")[0]?.endsWith("node") === true;
