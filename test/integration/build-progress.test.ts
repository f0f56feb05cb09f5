// What a person sees while a release is built: that it waits for others, the build's own lines as they
// are written, and that it can be ended.

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { AppFolder } from "../support/app-folder.ts";
import { CHECKOUT, Installation } from "../support/installation.ts";
import { until } from "../support/wait.ts";

const SERVER = `require("node:http").createServer((_, r) => r.end("well")).listen(process.env.PORT, process.env.HOST);`;
/** Says so much each half second, as an install does. */
const folderOf = (name: string, seconds: number, more = ""): AppFolder =>
  new AppFolder(
    {
      "server.js": SERVER,
      "build.js": `let n = 0; const t = setInterval(() => { console.log("step " + ++n + " of ${name}"); if (n >= ${seconds * 2}) clearInterval(t); }, 500);`,
      "holdfast.yaml": `name: ${name}\nbuild: { command: node build.js }\nservices: { web: { command: node server.js, health: { path: / } } }\n${more}`,
    },
    name,
  );

describe("a build's progress", { timeout: 240_000 }, () => {
  const holdfast = new Installation();
  const folders: AppFolder[] = [];
  const children: ChildProcess[] = [];
  const folder = (...args: Parameters<typeof folderOf>): AppFolder => {
    const one = folderOf(...args);
    folders.push(one);
    return one;
  };

  /** The command line, with what it has said so far. */
  const start = (...args: string[]) => {
    const env = { ...process.env, HOLDFAST_HOME: holdfast.home };
    const child = spawn(join(CHECKOUT, "holdfast"), args, { env });
    const said = { text: "", code: undefined as number | undefined };
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk: Buffer) => {
        said.text += chunk.toString();
      });
    children.push(child);
    child.on("close", (code) => {
      said.code = code ?? -1;
    });
    return said;
  };

  before(() => holdfast.ok("up", "--install"));
  after(async () => {
    for (const child of children) child.kill();
    await holdfast.close();
    for (const one of folders) one.remove();
  });

  it("shows its lines while they are written", async () => {
    const said = start("deploy", folder("told", 6).dir);
    await until("the first line", () => said.text.includes("step 1 of told"));
    assert.ok(!said.text.includes("step 12 of told"), "the build is not over yet");
    assert.equal(said.code, undefined);
    await until("it is deployed", () => said.code === 0);
    for (let step = 1; step <= 12; step += 1)
      assert.equal(said.text.split(`step ${step} of told\n`).length, 2, `step ${step}, once`);
    assert.match(said.text, /release 1 carries all traffic/);
  });

  it("says that it waits for other builds; what is built waits for none; abort ends one", async () => {
    const long = ["one", "two", "three", "four"].map((name) => ({
      name,
      said: start("deploy", folder(name, 60).dir),
    }));
    await until("some wait", () => long.some(({ said }) => /waits for/.test(said.text)));
    const startedAt = performance.now();
    await holdfast.ok("config", "set", "told", "GREETING=hello");
    assert.ok(performance.now() - startedAt < 20_000, "a setting needs no build");
    for (const { name } of long) await holdfast.ok("abort", name);
    await until("all of them ended", () => long.every(({ said }) => said.code !== undefined));
    for (const { name, said } of long) assert.match(said.text, /aborted|cancelled/, name);
  });
});
