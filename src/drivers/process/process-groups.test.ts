import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { describe, it } from "node:test";
import { until } from "../../../test/support/wait.ts";
import { groupUse } from "./process-groups.ts";

describe("groupUse", () => {
  it("adds up what a group and its children use, and knows no group that has ended", async () => {
    const busy = "const end = Date.now() + 60000; while (Date.now() < end) {}";
    const leader = spawn("/bin/sh", ["-c", `${process.execPath} -e '${busy}' & wait`], {
      detached: true,
      stdio: "ignore",
    });
    const pid = leader.pid ?? 0;
    try {
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      const use = groupUse(pid, Date.now());
      assert.ok((use?.cpuSeconds ?? 0) > 0.3, JSON.stringify(use));
      assert.ok((use?.memoryBytes ?? 0) > 10 * 1024 ** 2, JSON.stringify(use));
    } finally {
      process.kill(-pid, "SIGKILL");
    }
    await new Promise((resolve) => leader.on("close", resolve));
    // The kernel ends the child in its own time; each look is later than the last may be kept.
    let now = Date.now();
    await until("the whole group has ended", () => {
      now += 2_000;
      return groupUse(pid, now) === undefined;
    });
  });
});
