// A first start that is killed, or goes slowly, or meets rubbish: the next one comes up.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { CHECKOUT, Installation } from "../support/installation.ts";
import { until } from "../support/wait.ts";

describe("a first start", { timeout: 400_000 }, () => {
  const opened: Installation[] = [];
  const fresh = (): Installation => {
    const holdfast = new Installation();
    opened.push(holdfast);
    return holdfast;
  };
  after(async () => {
    for (const holdfast of opened) await holdfast.close();
  });

  it("comes up after one that was killed at any moment", async () => {
    const holdfast = fresh();
    for (const ms of [300, 700, 1_100, 1_500, 1_900, 2_400]) {
      const begun = spawn(join(CHECKOUT, "holdfast"), ["up"], {
        env: { ...process.env, HOLDFAST_HOME: holdfast.home, HOLDFAST_BIND: "127.0.0.1" },
        stdio: "ignore",
      });
      await sleep(ms);
      begun.kill("SIGKILL");
      for (const pid of processesOf(holdfast.home)) tryKill(pid);
      if (ms > 1_000)
        rmSync(join(holdfast.home, "compile-cache"), { recursive: true, force: true });
    }
    await holdfast.ok("up", "--install");
    await holdfast.ok("status");
  });

  it("comes up with compiled code that is none, and drops it when it is ended by an abort", async () => {
    const holdfast = fresh();
    await holdfast.ok("up");
    const cache = join(holdfast.home, "compile-cache");
    const [version = ""] = readdirSync(cache);
    const before = inodeOf(cache);
    process.kill(holdfast.controlPlanePid, "SIGABRT");
    await until("what was compiled is dropped", async () => inodeOf(cache) !== before);
    await until("it is up again", async () => (await holdfast.run(["status"])).code === 0);
    await holdfast.ok("down");
    mkdirSync(join(cache, version), { recursive: true });
    for (const file of readdirSync(join(cache, version)))
      writeFileSync(join(cache, version, file), "rubbish".repeat(100));
    await holdfast.ok("up");
  });

  it("ends with a shop that answers, also after a stop and after everything was killed", async () => {
    const holdfast = fresh();
    await holdfast.ok("start");
    await holdfast.ok("down", "--all");
    await holdfast.ok("start");
    // As after a loss of power.
    for (const pid of processesOf(holdfast.home)) tryKill(pid);
    await holdfast.ok("start");
  });

  it("takes as long as it takes where the machine is slow", async (t) => {
    const group = "/sys/fs/cgroup/cpu/holdfast-test-slow";
    try {
      mkdirSync(group);
      writeFileSync(join(group, "cpu.cfs_quota_us"), "15000");
    } catch {
      return t.skip("no control group of CPU to be slow in");
    }
    const holdfast = fresh();
    // Without what others have compiled and set up before.
    const script = `echo $$ > ${group}/cgroup.procs; exec ${join(CHECKOUT, "holdfast")} up`;
    const began = Date.now();
    const slow = spawn("/bin/sh", ["-c", script], {
      env: {
        ...process.env,
        HOLDFAST_HOME: holdfast.home,
        HOLDFAST_BIND: "127.0.0.1",
        NODE_COMPILE_CACHE: join(holdfast.home, "cli-cache"),
      },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let said = "";
    slow.stderr.on("data", (chunk) => {
      said += chunk;
    });
    const code = await new Promise((resolve) => slow.on("close", resolve));
    assert.equal(code, 0, said);
    assert.ok(Date.now() - began > 31_000, "longer than a start used to be given");
    await holdfast.ok("down", "--all");
    rmdirSync(group);
  });
});

const inodeOf = (path: string): number | undefined =>
  existsSync(path) ? statSync(path).ino : undefined;

/** By their variable: what was begun for this installation, whoever began it. */
function processesOf(home: string): number[] {
  return readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid)
    .map(Number)
    .filter((pid) => environmentOf(pid).includes(`HOLDFAST_HOME=${home}\0`));
}

function environmentOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, "utf8");
  } catch {
    return "";
  }
}

function tryKill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}
