// Uploads that mean harm, or break off: the control plane stays small and quick, and nothing is left.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { after, before, describe, it } from "node:test";
import { setTimeout } from "node:timers/promises";
import { gzipSync, zstdCompressSync } from "node:zlib";
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

  it("that hides how large it is is refused, and one that may be large is taken", async () => {
    // Attributes of a file that follows: three gigabytes of them.
    const sparse = Buffer.alloc(64 * 1024 ** 2);
    for (let at = 0; at < sparse.length; at += BLOCK) sparse[at] = (at * 2_654_435_761) >>> 24;
    const block = gzipSync(sparse);
    const hidden = [gzipSync(header("pax", 3 * 1024 ** 3, "x")), ...Array<Buffer>(48).fill(block)];
    const { status, text } = await upload(Buffer.concat(hidden));
    assert.equal(status, 400, text);
    assert.match(text, /larger than 2 GB/);
    const whole = [
      gzipSync(header("zeros", 1024 ** 3)),
      ...Array<Buffer>(16).fill(block),
      gzipSync(header("Procfile", 20)),
      gzipSync(Buffer.concat([Buffer.from("web: node server.js\n"), Buffer.alloc(BLOCK - 20)])),
      gzipSync(Buffer.alloc(2 * BLOCK)),
    ];
    const large = await upload(Buffer.concat(whole));
    assert.ok(large.status < 300, large.text);
    await until("nothing is left", async () => leftovers().length === 0);
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
      [zstdCompressSync(header("Procfile", 0)), /compressed by zstd/],
    ];
    for (const [body, message] of cases) {
      const { status, text } = await upload(body);
      assert.equal(status, 400, text);
      assert.match(text, message);
    }
    assert.deepEqual(leftovers(), []);
  });

  /** Real links, packed by the usual tar. */
  const packed = (fill: (dir: string) => void): Buffer => {
    const dir = mkdtempSync(join(tmpdir(), "holdfast-links-"));
    try {
      fill(dir);
      return execFileSync("tar", ["czf", "-", "-C", dir, "."]);
    } finally {
      rmSync(dir, { recursive: true });
    }
  };
  // Deep down a link to the top: the text of `l/../../x` is inside, and where it leads is not.
  const DEPTH = 12;
  const deep = Array<string>(DEPTH).fill("a").join("/");
  const outBy = (dir: string, target: string): string => {
    mkdirSync(join(dir, deep), { recursive: true });
    mkdirSync(join(dir, "b"));
    symlinkSync(`${"../".repeat(DEPTH)}b`, join(dir, deep, "l"));
    return `${deep}/l/${"../".repeat(DEPTH - 1)}${target.slice(1)}`;
  };
  const decoy = (dir: string, target: string): void => {
    mkdirSync(join(dir, "a", dirname(target)), { recursive: true });
    writeFileSync(join(dir, "a", target), "web: node server.js");
  };

  it("reads and removes nothing outside, whatever its links say", async () => {
    const token = readFileSync(join(holdfast.home, "state", "admin.token"), "utf8").trim();
    const secret = join(holdfast.home, "state", "admin.token");
    const victim = join(holdfast.home, "victim");
    writeFileSync(victim, "still here");
    const attacks: readonly ((dir: string) => void)[] = [
      (dir) => {
        const out = outBy(dir, secret);
        decoy(dir, secret);
        symlinkSync(out, join(dir, "Procfile"));
      },
      (dir) => {
        const out = outBy(dir, "/dev/zero");
        decoy(dir, "/dev/zero");
        symlinkSync(out, join(dir, "Procfile"));
      },
      (dir) => {
        symlinkSync(outBy(dir, holdfast.home), join(dir, "y"));
        writeFileSync(join(dir, ".holdfastignore"), "y/victim\n");
      },
      (dir) => {
        symlinkSync(outBy(dir, victim), join(dir, ".holdfastignore"));
        decoy(dir, victim);
      },
      (dir) => symlinkSync("loop", join(dir, "loop")),
      // To what somebody may make later.
      (dir) => symlinkSync(outBy(dir, "/tmp/not-there-yet"), join(dir, "later")),
    ];
    for (const [index, attack] of attacks.entries()) {
      const { status, text } = await upload(packed(attack));
      assert.equal(status, 400, `${index}: ${text}`);
      assert.ok(!text.includes(token), `${index}: ${text}`);
      assert.match(text, /not in the app's folder|can't be unpacked/, String(index));
      assert.equal(readFileSync(victim, "utf8"), "still here", String(index));
    }
    assert.deepEqual(leftovers(), []);
  });

  it("may have links that stay inside, also by way of others", async () => {
    const body = packed((dir) => {
      mkdirSync(join(dir, "packages", "lib"), { recursive: true });
      writeFileSync(join(dir, "packages", "Procfile"), "web: node server.js\n");
      writeFileSync(join(dir, "server.js"), ECHO_SERVER);
      symlinkSync("packages/lib", join(dir, "lib"));
      symlinkSync("lib/../Procfile", join(dir, "Procfile"));
      symlinkSync("nowhere/at/all", join(dir, "dangling"));
    });
    const { status, text } = await upload(body);
    assert.ok(status < 300, text);
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

  it("that is refused while it is still sent tells its sender why", async () => {
    // Busy before its second part, so that it is sent without a look at what came meanwhile.
    async function* parts(pauseMs: number): AsyncGenerator<string> {
      yield "x";
      const began = performance.now();
      while (performance.now() - began < pauseMs);
      yield "x";
      await setTimeout(pauseMs);
      yield "x";
    }
    const refused = (pauseMs: number): Promise<string> =>
      new Promise((resolve) => {
        const asked = request(
          {
            socketPath: join(holdfast.home, "run", "api.sock"),
            path: "/v1/environments/NONE/deploys",
            method: "POST",
            agent: new Agent(),
            headers: { "content-type": "application/gzip" },
          },
          (answer) => resolve(String(answer.resume().statusCode)),
        );
        asked.on("error", (error) => resolve(error.message));
        Readable.from(parts(pauseMs)).pipe(asked);
      });
    const said = new Set<string>();
    for (let i = 0; i < 1200; i += 1) said.add(await refused((i % 60) / 15));
    assert.deepEqual([...said], ["400"]);
  });

  it("that trickles in keeps nobody else out, and is given up", async () => {
    await holdfast.ok("env", "create", "staging", "--class", "staging");
    await holdfast.ok("account", "set", "ci", "--role", "staging/developer");
    const { token } = await holdfast.json<{ token: string }>("token", "create", "ci");
    const trickle = (): Promise<{ status: number; text: string }> =>
      new Promise((resolve) => {
        const asked = request(
          {
            socketPath: join(holdfast.home, "run", "api.sock"),
            path: "/v1/environments/production/deploys?folder=slow",
            method: "POST",
            headers: { "content-type": "application/gzip", "content-length": 1_000_000 },
          },
          (answer) => {
            let text = "";
            answer.setEncoding("utf8").on("data", (chunk) => {
              text += chunk;
            });
            answer.on("end", () => resolve({ status: answer.statusCode ?? 0, text }));
          },
        );
        asked.on("error", (error) => resolve({ status: 0, text: String(error) }));
        asked.write("x");
      });
    const slow = [trickle(), trickle(), trickle()];
    await until("they come in", () => leftovers().length === 3);
    let hasOwnerDeployed = false;
    const own = holdfast.ok("deploy", folder.dir).then(() => {
      hasOwnerDeployed = true;
    });
    const args = ["deploy", folder.dir, "--env", "staging", "--json"];
    const other = await holdfast.runAs(token, args);
    assert.equal(other.code, 0, other.stdout);
    assert.equal(hasOwnerDeployed, false, "it waits for those of the same account");
    for (const { status, text } of await Promise.all(slow)) {
      assert.equal(status, 400, text);
      assert.match(text, /too slowly/);
    }
    await own;
    await until("nothing is left", async () => leftovers().length === 0);
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
