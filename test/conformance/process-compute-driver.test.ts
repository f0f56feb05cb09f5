import assert from "node:assert/strict";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { AppUsers } from "../../src/drivers/process/app-user.ts";
import { cgroupVersion } from "../../src/drivers/process/cgroup.ts";
import { canKeepApart, removeFirewall } from "../../src/drivers/process/firewall.ts";
import { ProcessComputeDriver } from "../../src/drivers/process/process-compute-driver.ts";
import { systemClock } from "../../src/kernel/clock.ts";
import type { Instance, InstanceSpec } from "../../src/resources/app/app-driver.ts";
import { defaultResources } from "../../src/resources/app/manifest.ts";
import { answersAt, mayFilter, TestNamespace } from "../support/test-namespace.ts";
import { until } from "../support/wait.ts";
import { runComputeSuite } from "./compute-driver.suite.ts";

const root = mkdtempSync(join(tmpdir(), "holdfast-compute-"));
chmodSync(root, 0o711);
after(async () => {
  await removeFirewall(root);
  rmSync(root, { recursive: true, force: true, maxRetries: 5 });
});
const artifact = join(root, "artifact");
mkdirSync(artifact, { mode: 0o755 });
writeFileSync(
  join(artifact, "serve.js"),
  "const s = require('node:http').createServer((q, r) => r.end('ok')).listen(process.env.PORT, process.env.HOST); process.on('SIGTERM', () => s.close(() => process.exit(0)));",
);
// Apps run under users of their own: the Node they get must be where these can reach it.
const runtime = join(root, "runtime");
mkdirSync(join(runtime, "bin"), { recursive: true, mode: 0o755 });
copyFileSync(process.execPath, join(runtime, "bin", "node"));
chmodSync(join(runtime, "bin", "node"), 0o755);

const open = (): ProcessComputeDriver =>
  new ProcessComputeDriver({
    clock: systemClock,
    root,
    dir: join(root, "instances"),
    artifactDir: () => artifact,
    findArtifactFault: async () => undefined,
    logDir: join(root, "logs"),
    nodeDir: runtime,
    users: new AppUsers(join(root, "users.json")),
    guardedPorts: () => [],
    reachOf: () => ({ doors: [], asksMetadata: false }),
    wasStoppedAt: () => false,
  });

runComputeSuite({
  name: "process",
  driver: open(),
  reopen: open,
  artifact: { kind: "directory", digest: "test" },
  commands: {
    serve: "node serve.js",
    ignoreSigterm: "trap '' TERM; echo deaf; while :; do sleep 1; done",
    exit3: "exit 3",
    sayAndExit: "echo one; echo two >&2; echo three",
    showEnv: "env",
    sayInput: "cat",
    eatMemory: `node -e "const held = []; setInterval(() => held.push(Buffer.alloc(8e6, 1)), 10)"`,
  },
  deviations:
    cgroupVersion() === undefined
      ? {
          "ends one that takes more memory than its limit, and says so":
            "no control groups here: not root, or none mounted",
        }
      : {},
});

describe("compute driver: process, as root", () => {
  const driver = open();
  const spec = (appName: string, role: "service" | "task", command: string): InstanceSpec => ({
    name: `${appName.replace("/", ".")}.${role}.1`,
    owner: appName.replace("/", "-"),
    appName,
    labels: { component: role, role, release: 1, restarts: 0, index: "1" },
    artifact: { kind: "directory", digest: "test" },
    command,
    env: {},
    ...(role === "service" && { port: 0 }),
    resources: { ...defaultResources, processes: 64 },
  });
  const everywhere = spec("test/shop", "service", "HOST=0.0.0.0 node serve.js");
  const start = (one: InstanceSpec): Promise<void> => driver.start(one);
  const find = async ({ owner, name }: InstanceSpec): Promise<Instance | undefined> =>
    (await driver.list(owner)).find((one) => one.name === name);
  const exitOf = async (task: InstanceSpec): Promise<number | undefined> => {
    await start(task);
    await until(`${task.name} ends`, async () => (await find(task))?.state === "exited");
    return (await find(task))?.exit?.code;
  };
  const tasks: InstanceSpec[] = [];
  const reaches = async (appName: string, port: number): Promise<boolean> => {
    const task = spec(
      appName,
      "task",
      `node -e "fetch('http://127.0.0.1:${port}/', { signal: AbortSignal.timeout(1500) }).then(() => process.exit(0), () => process.exit(7))"`,
    );
    tasks.push(task);
    return (await exitOf(task)) === 0;
  };

  after(async () => {
    await driver.kill(everywhere.owner, everywhere.name);
    await until("it is gone", async () => (await find(everywhere))?.state !== "running");
    for (const { owner, name } of [everywhere, ...tasks]) await driver.remove(owner, name);
  });

  it("keeps an instance that listens everywhere from other apps and from outside", async (t) => {
    if (!(await mayFilter())) return t.skip("nft can't set rules here");
    assert.ok(await canKeepApart(root), "the kernel takes the rules");
    const namespace = await TestNamespace.open();
    if (!namespace) return t.skip("no network namespaces here");
    try {
      await start(everywhere);
      const port = (await find(everywhere))?.address?.port ?? 0;
      await until("it answers", () => answersAt("127.0.0.1", port));
      assert.ok(await answersAt(namespace.address, port), "this machine reaches it at any address");
      assert.ok(await reaches("test/shop", port), "its own app reaches it");
      assert.ok(!(await reaches("test/other", port)), "another app does not");
      assert.ok(!(await namespace.reaches(port)), "nobody outside does");
      const squatter = spec(
        "test/squatter",
        "task",
        "node -e \"require('net').createServer().listen(0, '127.0.0.1', function () { console.log('listens on ' + this.address().port) })\"",
      );
      tasks.push(squatter);
      await start(squatter);
      const said = async (): Promise<string> =>
        (await driver.tail(squatter.owner, squatter.name, 5)).join("\n");
      await until("it listens", async () => (await said()).includes("listens on"));
      const squat = Number(/listens on (\d+)/.exec(await said())?.[1]);
      const isReached = await answersAt("127.0.0.1", squat);
      await driver.kill(squatter.owner, squatter.name);
      await until("it ended", async () => (await find(squatter))?.state === "exited");
      assert.ok(!isReached, "on a port that was not given to it nobody reaches it");
    } finally {
      await namespace.close();
    }
  });
});
