// An app that means harm, as root runs it: what it may bring along (programs, variables, links,
// processes that hide) gets nothing that is not its own.

import assert from "node:assert/strict";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { AppFolder, ECHO_SERVER } from "../support/app-folder.ts";
import { Installation } from "../support/installation.ts";
import { until } from "../support/wait.ts";

const TOOLS = [
  "mv",
  "date",
  "setpriv",
  "unshare",
  "mount",
  "nice",
  "ionice",
  "sh",
  "cat",
  "setsid",
];
const BUILD_SLEEP = "424243";
const APP_SLEEP = "434344";

const skip = process.getuid?.() === 0 ? false : "only root runs apps as other users";

describe("an app that means harm", { timeout: 300_000, skip }, () => {
  const holdfast = new Installation();
  const proofs = mkdtempSync(join(tmpdir(), "holdfast-proofs-"));
  const folders: AppFolder[] = [];
  const folderOf = (name: string, files: Readonly<Record<string, string>>): AppFolder => {
    const folder = new AppFolder(files, name);
    folders.push(folder);
    return folder;
  };

  before(async () => {
    chmodSync(proofs, 0o777);
    await holdfast.ok("up", "--install");
    const folder = folderOf("hostile", {
      "server.js": ECHO_SERVER,
      "evil.sh": `#!/bin/sh\necho "trap \${0##*/} $(/usr/bin/id -u)" >&2\n/usr/bin/id -u >> ${proofs}/\${0##*/}\nPATH=/usr/sbin:/usr/bin:/sbin:/bin exec "\${0##*/}" "$@"\n`,
      "package.json": JSON.stringify({
        name: "hostile",
        dependencies: { d: "file:./d" },
      }),
      "holdfast.yaml": [
        "name: hostile",
        `services: { web: { command: 'setsid sleep ${APP_SLEEP} & node server.js' } }`,
        `config: { LD_PRELOAD: /nowhere/evil.so, BASH_ENV: /nowhere/evil.sh, PATH: '${proofs}:/usr/bin:/bin' }`,
        "build:",
        "  command: |",
        `    for tool in ${TOOLS.join(" ")}; do cp evil.sh node_modules/.bin/$tool; done`,
        `    (setsid sleep ${BUILD_SLEEP} &)`,
        "    chmod -R 777 . ; chmod u+s evil.sh; date",
        "",
      ].join("\n"),
    });
    mkdirSync(join(folder.dir, "d"));
    const bin = Object.fromEntries(TOOLS.map((tool) => [tool, "./evil.sh"]));
    folder.write({
      "d/package.json": JSON.stringify({ name: "d", version: "1.0.0", bin }),
      "d/evil.sh": `#!/bin/sh\necho "trap \${0##*/} $(/usr/bin/id -u)" >&2\n/usr/bin/id -u >> ${proofs}/\${0##*/}\nPATH=/usr/sbin:/usr/bin:/sbin:/bin exec "\${0##*/}" "$@"\n`,
    });
    chmodSync(join(folder.dir, "evil.sh"), 0o755);
    chmodSync(join(folder.dir, "d", "evil.sh"), 0o755);
    await holdfast.ok("deploy", folder.dir);
  });
  after(async () => {
    await holdfast.close();
    for (const folder of folders) folder.remove();
    rmSync(proofs, { recursive: true, force: true });
  });

  it("has nothing of its own run with our rights, while it is built or started", async () => {
    const said = async (of: string): Promise<string> => holdfast.ok("logs", of, "-n", "5000");
    await until("the trap works where the app itself runs it", async () =>
      /trap setsid [1-9]/.test(await said("hostile")),
    );
    const all = (await said("hostile")) + (await said("hostile/build"));
    assert.match(all, /trap date [1-9]/);
    assert.doesNotMatch(all, /trap \w+ 0/, "something of the app ran as root");
    assert.deepEqual(readdirSync(proofs), [], "it ran where it sees the machine's own /tmp");
  });

  it("gets the variables it asked for, in its own processes only", async () => {
    const output = await holdfast.ok("run", "hostile", "--", "/usr/bin/printenv LD_PRELOAD");
    assert.match(output, /\/nowhere\/evil.so/);
  });

  it("can't change its artifact, whatever rights its build gave away", () => {
    const artifacts = join(holdfast.home, "build", "artifacts");
    const open = readdirSync(artifacts, { recursive: true, withFileTypes: true }).filter(
      (entry) => {
        const stat = lstatSync(join(entry.parentPath, entry.name));
        return !stat.isSymbolicLink() && (stat.uid !== 0 || (stat.mode & 0o7022) !== 0);
      },
    );
    assert.deepEqual(
      open.map(({ name }) => name),
      [],
    );
  });

  it("leaves no process behind, neither of its build nor of its instances", async () => {
    assert.equal(processesWith(BUILD_SLEEP), 0);
    assert.equal(processesWith(APP_SLEEP), 1);
    await holdfast.ok("destroy", "hostile", "--confirm", "hostile");
    await until("all has ended", async () => processesWith(APP_SLEEP) === 0);
  });

  it("has no link that leads out of its folder, also by way of other links", async () => {
    const links: [string, string][] = [
      ["out", "/etc"],
      ["out", "a/b/up/../../../../../../../etc"],
      ["out", "a/b/not-there-yet/../../../../../etc"],
    ];
    for (const [name, target] of links) {
      const folder = folderOf("linked", {
        "holdfast.yaml": "name: linked\nservices: { web: { command: node server.js } }",
        "server.js": ECHO_SERVER,
      });
      mkdirSync(join(folder.dir, "a", "b"), { recursive: true });
      symlinkSync("../..", join(folder.dir, "a", "b", "up"));
      symlinkSync(target, join(folder.dir, name));
      const { code, stderr } = await holdfast.run(["deploy", folder.dir]);
      assert.equal(code, 2, stderr);
      assert.match(stderr, /in the app's folder/);
    }
    assert.deepEqual(
      readdirSync(join(holdfast.home, "sources")).filter((one) => one.startsWith("upload-")),
      [],
    );
  });

  it("reaches no store of another environment, and no service of another app", async () => {
    const wants = (name: string): string =>
      [
        `name: ${name}`,
        "stores: { postgres: {} }",
        "services:",
        `  web: { command: node server.js, routes: [{ host: ${name}.localhost }] }`,
        "  inner: { command: node server.js }",
      ].join("\n");
    const spy = folderOf("spy", { "server.js": ECHO_SERVER, "holdfast.yaml": wants("spy") });
    const other = folderOf("other", { "server.js": ECHO_SERVER, "holdfast.yaml": wants("other") });
    await holdfast.ok("env", "create", "staging", "--class", "staging");
    await holdfast.ok("deploy", spy.dir, "--env", "staging");
    await holdfast.ok("deploy", spy.dir);
    await holdfast.ok("deploy", other.dir);
    const { engines } = holdfast.ports;
    const inner = async (app: string, env: string): Promise<number> =>
      Number(
        /:(\d+)/.exec(await holdfast.ok("run", "--env", env, app, "--", "printenv INNER_URL"))?.[1],
      );
    const reaches = async (env: string, port: number | undefined): Promise<boolean> => {
      const script = `require("net").connect(${port},"127.0.0.1").on("connect",()=>{console.log("open");process.exit()}).on("error",(e)=>{console.log(e.code);process.exit()})`;
      return /open/.test(
        await holdfast.ok("run", "--env", env, "spy", "--", `node -e '${script}'`),
      );
    };
    assert.equal(await reaches("production", engines["postgres.production"]), true);
    assert.equal(await reaches("staging", engines["postgres.staging"]), true);
    assert.equal(await reaches("staging", engines["postgres.production"]), false);
    assert.equal(await reaches("production", engines["postgres.staging"]), false);
    assert.equal(await reaches("production", engines["redis.staging"]), false);
    assert.equal(await reaches("production", await inner("spy", "production")), true);
    assert.equal(await reaches("staging", await inner("spy", "production")), false);
    assert.equal(await reaches("production", await inner("other", "production")), false);
  });

  it("reaches nothing that is not its own while it is built for the first time, either", async () => {
    const { engines, edgeMetrics } = holdfast.ports;
    const ports = [engines["postgres.production"], engines["prometheus.platform"], edgeMetrics];
    const probe = `const net = require("net"); for (const port of ${JSON.stringify(ports)}) net.connect(port, "127.0.0.1").on("connect", () => { console.error("REACHED " + port); process.exit(7); }).on("error", () => {});`;
    const fresh = folderOf("fresh", {
      "server.js": ECHO_SERVER,
      "probe.js": probe,
      "holdfast.yaml":
        "name: fresh\nbuild: { command: node probe.js }\nservices:\n  web: { command: node server.js, routes: [{ host: fresh.localhost }] }\n",
    });
    const { code, stdout, stderr } = await holdfast.run(["deploy", fresh.dir, "--env", "staging"]);
    assert.equal(code, 0, stdout + stderr);
  });
});

function processesWith(argument: string): number {
  return readdirSync("/proc").filter((pid) => {
    try {
      return (
        /^\d+$/.test(pid) &&
        readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(`sleep\0${argument}\0`)
      );
    } catch {
      return false;
    }
  }).length;
}
