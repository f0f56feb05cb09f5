// A build that means harm, and instances that look around: what they see, what they leave behind,
// and what other apps and environments get of it.

import assert from "node:assert/strict";
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { AppFolder, ECHO_SERVER } from "../support/app-folder.ts";
import { Installation } from "../support/installation.ts";
import { mayFilter } from "../support/test-namespace.ts";

const skip = process.getuid?.() === 0 ? false : "only root runs builds and apps as other users";

describe("a build that means harm", { timeout: 300_000, skip }, () => {
  const holdfast = new Installation();
  const victims = mkdtempSync(join(tmpdir(), "holdfast-victims-"));
  const victim = join(victims, "victim");
  const folders: AppFolder[] = [];
  const folderOf = (name: string, build: string, more: Readonly<Record<string, string>> = {}) => {
    const lines = [
      `name: ${name}`,
      "build:",
      `  command: ${JSON.stringify(build)}`,
      "services:",
      `  web: { command: node server.js, routes: [{ host: ${name}.localhost }] }`,
      "",
    ];
    const folder = new AppFolder(
      { "server.js": ECHO_SERVER, "holdfast.yaml": lines.join("\n"), ...more },
      name,
    );
    folders.push(folder);
    return folder;
  };
  const artifactOf = async (app: string, env: string): Promise<string> => {
    const { releases } = await holdfast.json<{
      releases: { number: number; artifact?: string }[];
    }>("releases", app, "--env", env);
    const [newest] = releases.toSorted((a, b) => b.number - a.number);
    return join(holdfast.home, "build", "artifacts", newest?.artifact ?? "none");
  };

  before(async () => {
    writeFileSync(victim, "untouched");
    await holdfast.ok("up", "--install");
    await holdfast.ok("env", "create", "staging", "--class", "staging");
  });
  after(async () => {
    await holdfast.close();
    for (const folder of folders) folder.remove();
    rmSync(victims, { recursive: true, force: true });
  });

  it("sees its own source and nothing of the machine's: no state, no processes, no other folders", async () => {
    const build = [
      `ls -a ${victims} 2>/dev/null && echo SAW victims`,
      `ls -a ${holdfast.home} 2>/dev/null && echo SAW home`,
      "ls -d /var/lib/holdfast /root /srv /home/[!b]* /run/docker.sock 2>/dev/null && echo SAW folders",
      "ls -d /proc/[0-9]* | wc -l > processes",
      "cat /proc/*/cmdline | tr '\\0' ' ' | grep -E 'h[a]proxy|telemetry[.]ts' && echo SAW processes",
      "unshare -U true 2>/dev/null && echo SAW namespaces",
      "touch /etc/x /usr/x /x 2>/dev/null && echo SAW writable",
      "true",
    ].join("\n");
    const { dir } = folderOf("looker", build);
    await holdfast.ok("deploy", dir);
    const log = await holdfast.ok("logs", "looker/build", "-n", "100");
    assert.doesNotMatch(log, /SAW/);
    const artifact = await artifactOf("looker", "production");
    assert.ok(Number(readFileSync(join(artifact, "processes"), "utf8")) < 10);
  });

  it("has no link that it plants followed by us, while it runs and afterwards", async () => {
    const build = [
      `mkdir -p .venv node_modules; ln -s ${victim} .venv/zz; ln -s ${victim} node_modules/zz`,
      `ln -s ${victims} vendor; mkfifo pipe; ln -s /etc/shadow shadow`,
      `(setsid sh -c 'while :; do ln -sfn ${victim} .venv/pyvenv.cfg; ln -sfn ${victim} server.js; done' &)`,
      "true",
    ].join("\n");
    const { dir } = folderOf("planter", build, {
      "package.json": JSON.stringify({ name: "planter", private: true, workspaces: [] }),
    });
    await holdfast.run(["deploy", dir]);
    assert.equal(readFileSync(victim, "utf8"), "untouched");
    assert.equal(lstatSync(victim).mode & 0o777, 0o644);
    assert.equal(lstatSync(victim).uid, 0);
    assert.deepEqual(readdirSync(victims), ["victim"]);
    const artifact = await artifactOf("planter", "production");
    if (existsSync(artifact)) assert.ok(!existsSync(join(artifact, "pipe")), "no pipe is kept");
    assert.match(await holdfast.ok("logs", "planter/build", "-n", "50"), /left out 1 entr/);
  });

  it("leaves nothing to the next build: no home, no temporary files", async () => {
    const build =
      "cat ~/.npmrc ~/left /tmp/left 2>/dev/null && exit 9; echo evil=1 > ~/.npmrc; echo a > ~/left; echo a > /tmp/left";
    const folder = folderOf("squirrel", build);
    await holdfast.ok("deploy", folder.dir);
    folder.write({ "another.txt": "so that it is built again" });
    await holdfast.ok("deploy", folder.dir);
  });

  it("gives what it made of its dependencies to nobody else: not to another environment", async () => {
    const build = "mkdir -p node_modules/greeting && date +%N > node_modules/greeting/text";
    const { dir } = folderOf("twin", build, {
      "package.json": JSON.stringify({ name: "twin", private: true, workspaces: [] }),
    });
    await holdfast.ok("deploy", dir, "--env", "staging");
    await holdfast.ok("deploy", dir);
    const text = async (env: string): Promise<string> =>
      readFileSync(join(await artifactOf("twin", env), "node_modules/greeting/text"), "utf8");
    assert.notEqual(await text("staging"), await text("production"));
  });

  it("is not started from an artifact that was changed after it was built", async () => {
    const { dir } = folderOf("sealed", "mkdir -p .venv && echo one > .venv/one");
    await holdfast.ok("deploy", dir);
    const artifact = await artifactOf("sealed", "production");
    const change = "for f in server.js .venv/one new; do echo x >> $f && echo CHANGED; done; true";
    const said = await holdfast.ok("run", "sealed", "--", change);
    assert.doesNotMatch(said, /CHANGED/, "from inside nothing can be");
    appendFileSync(join(artifact, ".venv", "one"), "changed by somebody with our rights");
    const { code, stdout, stderr } = await holdfast.run(["restart", "sealed"]);
    assert.notEqual(code, 0);
    assert.match(stdout + stderr, /was changed after it was built/);
  });

  it("ends where it wrote more than it may, or took too much memory, and says so", async () => {
    const withLimits = (name: string, command: string): AppFolder => {
      const folder = folderOf(name, command);
      const manifest = readFileSync(join(folder.dir, "holdfast.yaml"), "utf8");
      const limits = "build:\n  resources: { disk: 100MB, memory: 300MB }\n";
      folder.write({ "holdfast.yaml": manifest.replace("build:\n", limits) });
      return folder;
    };
    const greedy = withLimits("greedy", "head -c 300M /dev/zero > big; sleep 30");
    for (const { dir } of [
      greedy,
      // In a file without a name, and in a folder that its own user can't look into.
      withLimits("nameless", "exec 3>big; rm big; head -c 300M /dev/zero >&3; sleep 30"),
      withLimits("hidden", "mkdir d; head -c 300M /dev/zero > d/big; chmod 0 d; sleep 30"),
    ]) {
      const full = await holdfast.run(["deploy", dir]);
      assert.match(full.stdout + full.stderr, /wrote more than 100 MB/);
    }
    const eater = `node -e "const held = []; setInterval(() => held.push(Buffer.alloc(3e7, 1)), 1)"`;
    const manifest = readFileSync(join(greedy.dir, "holdfast.yaml"), "utf8");
    greedy.write({
      "holdfast.yaml": manifest.replace(
        /command: ".*sleep 30"/,
        `command: ${JSON.stringify(eater)}`,
      ),
    });
    const out = await holdfast.run(["deploy", greedy.dir]);
    assert.match(out.stdout + out.stderr, /out of memory \(build.resources.memory is 300 MB\)/);
  });
});

describe("instances that look around", { timeout: 300_000, skip }, () => {
  const holdfast = new Installation();
  const folders: AppFolder[] = [];
  const inside = (app: string, command: string): Promise<string> =>
    holdfast.ok("run", app, "--", command);

  before(async () => {
    await holdfast.ok("up", "--install");
    for (const name of ["one", "two"]) {
      const folder = new AppFolder(
        {
          "server.js": ECHO_SERVER,
          "holdfast.yaml": `name: ${name}\nstores: { postgres: { connections: 5 } }\nservices:\n  web: { command: node server.js ${name}-says-a-secret, routes: [{ host: ${name}.localhost }] }\n`,
        },
        name,
      );
      folders.push(folder);
      await holdfast.ok("deploy", folder.dir);
    }
  });
  after(async () => {
    await holdfast.close();
    for (const folder of folders) folder.remove();
  });

  it("share no folder that anybody may write to, and leave nothing in one", async () => {
    const places = "/tmp /var/tmp /dev/shm /run/lock /var/lib/php/sessions";
    await inside("one", `for at in ${places}; do echo secret > $at/left-by-one || exit 3; done`);
    for (const app of ["one", "two"]) {
      const seen = await inside(app, `for at in ${places}; do ls -a $at; done`);
      assert.doesNotMatch(seen, /left-by-one/);
    }
    for (const at of places.split(" "))
      assert.ok(!existsSync(join(at, "left-by-one")), `${at} of the machine`);
  });

  it("see no process of anybody else, nor its command line", async () => {
    const seen = await inside("two", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '");
    assert.match(seen, /two-says-a-secret/, "its own it sees");
    assert.doesNotMatch(seen, /one-says-a-secret|postgres|haproxy|control-plane/);
  });

  it("get no namespaces of their own, and no programs that give rights", async () => {
    const said = await inside("one", "unshare -Ur id -u 2>&1; su -c id 2>&1 < /dev/null; true");
    assert.doesNotMatch(said, /^0$|uid=0/m);
  });

  it("have limits of memory, disk and connections without asking for them", async () => {
    const full = await inside("one", "head -c 400M /dev/zero > /tmp/big 2>&1; wc -c < /tmp/big");
    assert.equal(Number(/\d+\s*$/.exec(full)?.[0]), 256 * 1024 ** 2);
    const limit = await inside(
      "one",
      "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; true",
    );
    assert.equal(Number(limit), 1024 ** 3, "which runtimes can read");
    const url = (await inside("one", "printenv DATABASE_URL")).trim();
    const { Client } = (await import("pg")).default;
    const open: InstanceType<typeof Client>[] = [];
    const connect = async (): Promise<void> => {
      const client = new Client({ connectionString: url });
      client.on("error", () => undefined);
      await client.connect();
      open.push(client);
    };
    try {
      for (let count = 0; count < 5; count += 1) await connect();
      await assert.rejects(connect(), /too many connections for role/);
    } finally {
      for (const client of open) await client.end();
    }
  });

  it("get no answer from other programs of the machine, but where the environment allows it", async (t) => {
    if (!(await mayFilter())) return t.skip("nft can't set rules here");
    const server = createServer((socket) => socket.end("hello")).listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as { port: number };
    const ask = (of: number): Promise<string> =>
      inside(
        "one",
        `node -e 'const s = require("net").connect(${of}, "127.0.0.1"); s.setTimeout(1500, () => { console.log("silence"); process.exit(); }); s.on("error", (e) => console.log(e.code)); s.on("data", (d) => { console.log(String(d)); process.exit(); });'`,
      );
    try {
      assert.match(await ask(port), /silence/);
      assert.match(await ask(1), /ECONNREFUSED/, "that nobody listens is no secret");
      assert.match(await ask(holdfast.ports.api), /ECONNREFUSED/);
      const policy = folders[0]?.dir ?? "";
      writeFileSync(join(policy, "policy.yaml"), `rules: { localPorts: [${port}] }\n`);
      const glass = ["--emergency", "--reason", "the test asks it"];
      await holdfast.ok("policy", "set", join(policy, "policy.yaml"), ...glass);
      assert.match(await ask(port), /hello/);
    } finally {
      server.close();
    }
  });
});
