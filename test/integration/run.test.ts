// Commands that are run once: what they read, and every line that they say.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { AppFolder, ECHO_SERVER } from "../support/app-folder.ts";
import { Installation } from "../support/installation.ts";

describe("holdfast run", { timeout: 240_000 }, () => {
  const holdfast = new Installation();
  const folder = new AppFolder({
    "server.js": ECHO_SERVER,
    "holdfast.yaml":
      "name: tool\nservices: { web: { command: node server.js, routes: [{ host: tool.localhost }] } }\n",
  });
  const run = (command: readonly string[], input = "") =>
    holdfast.run(["run", "tool", "--", ...command], input);

  before(async () => {
    await holdfast.ok("up", "--install");
    await holdfast.ok("deploy", folder.dir);
  });
  after(async () => {
    await holdfast.close();
    folder.remove();
  });

  it("shows the last line also where it has no end, and keeps it in the logs", async () => {
    assert.equal((await run(["printf", "a\\nlast words"])).stdout, "a\nlast words\n");
    assert.equal((await run(["printf", "only"])).stdout, "only\n");
    assert.match(await holdfast.ok("logs", "tool/run"), /last words[\s\S]*only/);
  });

  it("shows all of much output, in order", async () => {
    const { stdout, code } = await run(["seq 1 150000"]);
    assert.equal(code, 0);
    const lines = stdout.trimEnd().split("\n");
    assert.equal(lines.length, 150_000);
    assert.ok(lines.every((line, index) => line === String(index + 1)));
  });

  it("passes what is piped in, to its end", async () => {
    assert.equal((await run(["cat"], "x\ny")).stdout, "x\ny\n");
    const much = "0123456789abcdef\n".repeat(200_000);
    assert.equal((await run(["wc -c"], much)).stdout.trim(), String(much.length));
    assert.equal((await run(["head -n 1"], much)).stdout.trim(), "0123456789abcdef");
    assert.equal((await run(["cat; echo end"])).stdout, "end\n");
    assert.equal((await run(["exit 5"], "unread")).code, 5);
  });

  it("leaves no log file behind", async () => {
    const left = readdirSync(join(holdfast.home, "logs", "sources")).filter((file) =>
      /\.run\..*log$/.test(file),
    );
    // They are looked at for ten minutes; that they then go is held by the collector's own tests.
    assert.ok(left.length <= 9, left.join(" "));
  });
});
