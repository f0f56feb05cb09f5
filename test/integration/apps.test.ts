// Applications that nobody here wrote, deployed as they are.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { DockerEngine } from "../../src/drivers/docker/docker-engine.ts";
import { AppFolder, ECHO_SERVER } from "../support/app-folder.ts";
import { ask } from "../support/ask.ts";
import { Installation } from "../support/installation.ts";
import { until } from "../support/wait.ts";

const PYTHON_APP = `
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = ("hello from python, release " + os.environ["HOLDFAST_RELEASE"]).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
`;

const hasDocker =
  (await new DockerEngine().findVersion()) !== undefined && existsSync("/bin/busybox");

describe("apps as they are", { timeout: 300_000 }, () => {
  const holdfast = new Installation();
  const folders: AppFolder[] = [];
  const deploy = async (name: string, files: Readonly<Record<string, string>>): Promise<string> => {
    const folder = new AppFolder(files, name);
    folders.push(folder);
    const { code, stdout, stderr } = await holdfast.run(["deploy", folder.dir]);
    assert.equal(code, 0, stdout + stderr);
    return stderr;
  };

  before(() => holdfast.ok("up", "--install"));
  after(async () => {
    await holdfast.close();
    for (const folder of folders) folder.remove();
  });

  it("a server from the npm registry, by its start script", async () => {
    const pkg = {
      name: "files",
      private: true,
      scripts: { start: "serve -l tcp://$HOST:$PORT --no-clipboard public-file.txt" },
      dependencies: { serve: "14.2.4" },
    };
    const said = await deploy("files", {
      "package.json": JSON.stringify({
        ...pkg,
        scripts: { start: "serve -l tcp://$HOST:$PORT --no-clipboard ." },
      }),
      "public-file.txt": "from the registry",
    });
    assert.match(said, /package.json: one service, web/);
    assert.equal(
      (await ask(holdfast, { host: "files.localhost", path: "/public-file.txt" })).text,
      "from the registry",
    );
  });

  it("a Python app by its Procfile", async () => {
    const said = await deploy("snake", { Procfile: "web: python3 app.py\n", "app.py": PYTHON_APP });
    assert.match(said, /Procfile: service web: python3 app.py/);
    assert.equal(
      (await ask(holdfast, { host: "snake.localhost" })).text,
      "hello from python, release 1",
    );
  });

  it("an app of workers and jobs only", async () => {
    await deploy("quiet", {
      "holdfast.yaml":
        "name: quiet\nworkers: { w: { command: 'while true; do echo tick; sleep 1; done' } }\njobs: { j: { command: echo done, schedule: '@daily' } }",
    });
    await until("it has logged", async () =>
      (await holdfast.ok("logs", "quiet/w")).includes("tick"),
    );
    const { apps } = await holdfast.status<{
      apps: { name: string; instances: { state: string }[]; jobs: object }[];
    }>();
    const quiet = apps.find(({ name }) => name === "quiet");
    assert.deepEqual(
      quiet?.instances.map(({ state }) => state),
      ["ready"],
    );
    assert.deepEqual(Object.keys(quiet?.jobs ?? {}), ["j"]);
  });

  it("a job, when it comes due, once", { timeout: 120_000 }, async () => {
    await deploy("clock", {
      "holdfast.yaml":
        "name: clock\njobs: { tick: { command: 'echo ticked for $HOLDFAST_APP', schedule: '* * * * *' } }",
    });
    const ticks = async (): Promise<number> =>
      (await holdfast.ok("logs", "clock/tick")).split("ticked for clock").length - 1;
    await until("it has ticked", async () => (await ticks()) > 0);
    const { apps } = await holdfast.status<{
      apps: { name: string; jobs: Record<string, { lastRun?: { outcome: string } }> }[];
    }>();
    const job = apps.find(({ name }) => name === "clock")?.jobs["tick"];
    assert.equal(job?.lastRun?.outcome, "succeeded");
    assert.equal(await ticks(), 1);
  });

  it("an app of a name that was destroyed, with its new code", async () => {
    const page = (text: string): Record<string, string> => ({
      Procfile: "web: node server.js\n",
      "server.js": `require("http").createServer((q, r) => r.end("${text}")).listen(process.env.PORT)`,
    });
    await deploy("again", page("the first"));
    await holdfast.ok("destroy", "again", "--confirm", "again");
    await deploy("again", page("the second"));
    assert.equal((await ask(holdfast, { host: "again.localhost" })).text, "the second");
  });

  it("changes that queue, visibly; a third takes the place of the waiting one", async () => {
    await deploy("queued", {
      "holdfast.yaml":
        "name: queued\nworkers: { w: { command: 'while true; do sleep 1; done', settle: 6s } }",
    });
    const set = (value: number) =>
      holdfast.run(["config", "set", "queued", `N=${value}`, "--json"]);
    const releases = async (): Promise<number> =>
      (await holdfast.json<{ releases: unknown[] }>("releases", "queued")).releases.length;
    const first = set(1);
    await until("the first is under way", async () => (await releases()) === 2);
    const second = holdfast.run(["config", "set", "queued", "N=2"]);
    await until("the second waits", async () => (await releases()) === 3);
    const third = set(3);
    const outcomeOf = async (run: typeof first): Promise<unknown> =>
      (JSON.parse((await run).stdout) as { outcome: string }).outcome;
    assert.equal(await outcomeOf(first), "succeeded");
    const { code, stdout, stderr } = await second;
    assert.equal(code, 75);
    assert.match(stderr, /waits: release 2 is being rolled out/);
    assert.match(stdout, /superseded/);
    assert.equal(await outcomeOf(third), "succeeded");
  });

  it("installs dependencies once for a lockfile, and not again for a change of code", async () => {
    const manifest =
      "name: cached\nservices: { web: { command: node server.js, routes: [{ host: cached.localhost }] } }";
    const pkg = JSON.stringify({
      name: "cached",
      version: "1.0.0",
      dependencies: { "is-number": "7.0.0" },
    });
    await deploy("cached", {
      "holdfast.yaml": manifest,
      "package.json": pkg,
      "server.js": ECHO_SERVER,
    });
    const folder = folders.at(-1);
    folder?.write({ "server.js": `${ECHO_SERVER}\n// changed` });
    const began = Date.now();
    await holdfast.ok("deploy", folder?.dir ?? "");
    const log = await holdfast.ok("logs", "cached/build");
    assert.equal(log.match(/added 1 package/g)?.length, 1, log);
    assert.ok(Date.now() - began < 20_000);
  });

  it("init writes down what was concluded, and its schema", async () => {
    const folder = new AppFolder(
      { Procfile: "web: node server.js\nrelease: node migrate.js\n", "server.js": ECHO_SERVER },
      "inited",
    );
    folders.push(folder);
    await holdfast.ok("init", folder.dir);
    const { readFileSync } = await import("node:fs");
    assert.match(
      readFileSync(`${folder.dir}/holdfast.yaml`, "utf8"),
      /name: inited\n[\s\S]*command: node server.js/,
    );
    assert.ok(existsSync(`${folder.dir}/holdfast.schema.json`));
    assert.equal((await holdfast.run(["init", folder.dir])).code, 2);
  });

  it("whatever a Dockerfile builds, with its store", {
    skip: hasDocker ? false : "no container engine, or no busybox-static",
  }, async () => {
    const { copyFileSync } = await import("node:fs");
    const folder = new AppFolder({
      Dockerfile:
        'FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\nCOPY page /www/index.html\nCOPY page /tmp/x\nEXPOSE 8000\nCMD ["/bin/busybox", "httpd", "-f", "-p", "8000", "-h", "/www"]\n',
      "holdfast.yaml":
        "name: boxed\nservices: { web: { health: { path: / }, routes: [{ host: boxed.localhost }], resources: { memory: 64MB } } }\nstores: { postgres: }",
      page: "from a container",
    });
    folders.push(folder);
    copyFileSync("/bin/busybox", `${folder.dir}/busybox`);
    await holdfast.ok("deploy", folder.dir);
    assert.equal((await ask(holdfast, { host: "boxed.localhost" })).text, "from a container");
    const { code } = await holdfast.run([
      "run",
      "boxed",
      "--",
      "/bin/busybox nc -w 2 $PGHOST $PGPORT </dev/null",
    ]);
    assert.equal(code, 0, "the database is reached from inside");
    // The next release is not built yet while this one must go on being seen as what it is.
    folder.write({ page: "from the next container" });
    await holdfast.ok("deploy", folder.dir);
    assert.equal(
      (await ask(holdfast, { host: "boxed.localhost" })).text,
      "from the next container",
    );
    const { apps } = await holdfast.status<{
      apps: { name: string; instances: { release: number; state: string }[] }[];
    }>();
    assert.deepEqual(
      apps
        .find(({ name }) => name === "boxed")
        ?.instances.map(({ release, state }) => `${release} ${state}`)
        .sort(),
      ["1 warm", "2 ready"],
    );
    await holdfast.ok("rollback", "boxed");
    assert.equal((await ask(holdfast, { host: "boxed.localhost" })).text, "from a container");
    await holdfast.ok("destroy", "boxed", "--confirm", "boxed");
  });
});
