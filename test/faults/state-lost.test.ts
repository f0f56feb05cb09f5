// The platform's memory comes back with less than it had: it is seen, nothing is overwritten, what
// runs serves on, and the way back is one command that says what is missing.

import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { AuditEvent } from "../../src/kernel/audit.ts";
import { AppFolder, ECHO_SERVER } from "../support/app-folder.ts";
import { ask } from "../support/ask.ts";
import { Installation } from "../support/installation.ts";

const FIRST_FRAME = 32;

describe("a state that lost what it acknowledged", { timeout: 240_000 }, () => {
  const holdfast = new Installation();
  const folder = new AppFolder({
    "server.js": ECHO_SERVER,
    "holdfast.yaml":
      "name: kept\nservices: { web: { command: node server.js, routes: [{ host: kept.localhost }] } }\n",
  });
  const state = join(holdfast.home, "state");
  const serves = async (): Promise<void> =>
    assert.equal((await ask(holdfast, { host: "kept.localhost", path: "/" })).status, 200);

  before(async () => {
    await holdfast.ok("up", "--install");
    await holdfast.ok("deploy", folder.dir);
  });
  after(async () => {
    await holdfast.close();
    folder.remove();
  });

  it("is refused when one bit of its log of writes is another, and put back from a copy", async () => {
    await holdfast.ok("config", "set", "kept", "COLOUR=green");
    // As after a loss of power: neither the control plane nor who keeps it running had a say.
    const wal = readFileSync(join(state, "holdfast.db-wal"));
    const files = ["holdfast.db", "holdfast.db.head"].map(
      (file) => [file, readFileSync(join(state, file))] as const,
    );
    await holdfast.ok("down");
    for (const [file, bytes] of files) writeFileSync(join(state, file), bytes);
    // In its first frame: what comes behind it counts no more, and SQLite says nothing.
    wal[FIRST_FRAME + 100] = (wal[FIRST_FRAME + 100] ?? 0) ^ 4;
    writeFileSync(join(state, "holdfast.db-wal"), wal);

    const { code, stderr } = await holdfast.run(["up"]);
    assert.equal(code, 3, stderr);
    assert.match(stderr, /ends at audit event \d+, and \d+ was acknowledged: \d+ (are|is) missing/);
    assert.match(stderr, /holdfast up --restore-state puts back the copy of/);
    assert.deepEqual(readFileSync(join(state, "holdfast.db-wal")), wal, "it was not touched");
    await serves();

    const restored = await holdfast.run(["up", "--restore-state"]);
    assert.equal(restored.code, 0, restored.stderr);
    assert.match(restored.stderr, /the state is that of .*; the damaged one is kept as/);
    assert.ok(readdirSync(state).some((file) => /damaged-\d+-wal$/.test(file)));
    await serves();
    const { events } = await holdfast.json<{ events: AuditEvent[] }>("audit");
    assert.ok(events.some(({ action, kind }) => action === "restore" && kind === "state"));
    await holdfast.ok("audit", "--verify");
    await holdfast.ok("deploy", folder.dir);
  });

  it("is refused when it is empty, and the copies stay as they are", async () => {
    await holdfast.ok("down");
    const copies = readdirSync(join(state, "copies")).sort();
    writeFileSync(join(state, "holdfast.db"), "");
    for (let round = 0; round < 2; round += 1) {
      const { code, stderr } = await holdfast.run(["up"]);
      assert.equal(code, 3, stderr);
      assert.match(stderr, /ends at audit event 0/);
    }
    assert.deepEqual(readdirSync(join(state, "copies")).sort(), copies);
    await holdfast.ok("up", "--restore-state");
    await serves();
    assert.match(await holdfast.ok("status"), /kept/);
  });
});
