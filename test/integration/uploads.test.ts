// Uploads that mean harm, or break off: the control plane stays small and quick, and nothing is left.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { gzipSync } from "node:zlib";
import { AppFolder, ECHO_SERVER } from "../support/app-folder.ts";
import { Installation } from "../support/installation.ts";
import { until } from "../support/wait.ts";

const BLOCK = 512;

/** One header of a tar archive: `size` is what it says, whatever follows. */
function header(name: string, size: number, type = "0", link = ""): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(name, 0, 100);
  block.write("0000644\0", 100);
  block.write("0000000\0", 108);
  block.write("0000000\0", 116);
  block.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  block.write("00000000000\0", 136);
  block.write("        ", 148);
  block.write(type, 156);
  block.write(link, 157, 100);
  block.write("ustar\u000000", 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return block;
}

describe("an upload", { timeout: 300_000 }, () => {
  const holdfast = new Installation();
  const folder = new AppFolder({
    "server.js": ECHO_SERVER,
    "holdfast.yaml": "name: after\nservices: { web: { command: node server.js } }\n",
  });

  const upload = (body: Buffer): Promise<{ status: number; text: string; ms: number }> => {
    const began = performance.now();
    return new Promise((resolve, reject) => {
      const asked = request(
        {
          socketPath: join(holdfast.home, "run", "api.sock"),
          path: "/v1/environments/production/deploys?folder=bomb",
          method: "POST",
          headers: { "content-type": "application/gzip", "content-length": body.length },
        },
        (answer) => {
          let text = "";
          answer.setEncoding("utf8").on("data", (chunk) => {
            text += chunk;
          });
          answer.on("end", () =>
            resolve({ status: answer.statusCode ?? 0, text, ms: performance.now() - began }),
          );
        },
      );
      asked.on("error", reject).end(body);
    });
  };
  const memoryMb = (): number => {
    const status = readFileSync(`/proc/${holdfast.controlPlanePid}/status`, "utf8");
    return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
  };
  const leftovers = (): string[] =>
    readdirSync(join(holdfast.home, "sources")).filter((one) => one.startsWith("upload-"));

  before(() => holdfast.ok("up", "--install"));
  after(async () => {
    await holdfast.close();
    folder.remove();
  });

  it("of more files than there may be is refused at once, and costs the control plane nothing", async () => {
    const files = Array.from({ length: 250_000 }, (_, index) => header(`f${index}`, 0));
    const { status, text, ms } = await upload(gzipSync(Buffer.concat(files)));
    assert.equal(status, 400, text);
    assert.match(text, /more than 200000 files/);
    assert.ok(memoryMb() < 400, `${memoryMb()} MB at most`);
    assert.ok(ms < 30_000, `${ms} ms`);
    await until("nothing is left", async () => leftovers().length === 0);
  });

  it("that says it is larger than it may be is refused before anything of it is written", async () => {
    const bomb = Buffer.concat([header("big", 3 * 1024 ** 3), Buffer.alloc(BLOCK * 64)]);
    const { status, text } = await upload(gzipSync(bomb));
    assert.equal(status, 400, text);
    assert.match(text, /larger than 2 GB/);
  });

  it("that can't be read, or leads out, is refused with a reason", async () => {
    const cases: readonly (readonly [Buffer, RegExp])[] = [
      [Buffer.from("no archive"), /can't be unpacked/],
      [gzipSync(Buffer.from("no archive, but compressed")), /can't be unpacked|no holdfast.yaml/],
      [gzipSync(Buffer.concat([header("a", 100)])).subarray(0, 20), /can't be unpacked/],
      [gzipSync(header("../../../tmp/evil", 0)), /can't be unpacked/],
      [gzipSync(header("link", 0, "2", "/etc/passwd")), /absolute linkpath/],
      [gzipSync(header("hard", 0, "1", "/etc/passwd")), /can't be unpacked/],
      [gzipSync(header("device", 0, "3")), /can't be unpacked/],
    ];
    for (const [body, message] of cases) {
      const { status, text } = await upload(body);
      assert.equal(status, 400, text);
      assert.match(text, message);
    }
    assert.deepEqual(leftovers(), []);
  });

  it("whose sender leaves ends with it, also while it is unpacked", async () => {
    const files = Array.from({ length: 150_000 }, (_, index) =>
      header(`d${index % 7}/f${index}`, 0),
    );
    const body = gzipSync(Buffer.concat(files));
    const asked = request({
      socketPath: join(holdfast.home, "run", "api.sock"),
      path: "/v1/environments/production/deploys?folder=gone",
      method: "POST",
      headers: { "content-type": "application/gzip", "content-length": body.length },
    });
    asked.on("error", () => undefined).end(body);
    await until("it is unpacked", async () => leftovers().length > 0 && unpacking() === 1);
    asked.destroy();
    await until("the unpacking ends", async () => unpacking() === 0);
    await until("nothing is left", async () => leftovers().length === 0);
    await holdfast.ok("deploy", folder.dir);
  });

  const unpacking = (): number =>
    readdirSync("/proc").filter((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
        return (
          /^\d+$/.test(pid) && line.includes("unpack-source.ts") && line.includes(holdfast.home)
        );
      } catch {
        return false;
      }
    }).length;
});
