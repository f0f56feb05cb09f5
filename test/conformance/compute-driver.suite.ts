// What every compute driver promises, the one in memory included. A driver that can't keep one of
// these promises says so with a reason.

import assert from "node:assert/strict";
import { request } from "node:http";
import { after, describe, it } from "node:test";
import type { ComputeDriver, Instance, InstanceSpec } from "../../src/resources/app/app-driver.ts";
import { defaultResources } from "../../src/resources/app/manifest.ts";
import { until } from "../support/wait.ts";

export interface ComputeSuite {
  readonly name: string;
  readonly driver: ComputeDriver;
  /** A fresh driver over the same world: a control plane that comes back. */
  readonly reopen: () => ComputeDriver;
  readonly artifact: InstanceSpec["artifact"];
  /** Command lines that mean the same everywhere. */
  readonly commands: {
    readonly serve: string;
    readonly ignoreSigterm: string;
    readonly exit3: string;
    readonly sayAndExit: string;
    readonly eatMemory: string;
    readonly showEnv: string;
    /** Says what it reads, to the end of that, and how long it was. */
    readonly sayInput: string;
  };
  /** How to see that one answers, where that is not over HTTP. */
  readonly answers?: (instance: Instance | undefined) => Promise<boolean>;
  /** Promise → why it is not kept. */
  readonly deviations?: Readonly<Record<string, string>>;
}

const OWNER = "owner-1";
const STRANGER = "owner-2";

export function runComputeSuite(suite: ComputeSuite): void {
  const { driver, commands, answers = answersHttp } = suite;
  let count = 0;
  const started: InstanceSpec[] = [];

  const spec = (command: string, changes: Partial<InstanceSpec> = {}): InstanceSpec => {
    count += 1;
    const index = String(count);
    const made: InstanceSpec = {
      name: `test.suite.web.r1.${index}`,
      owner: OWNER,
      appName: "test/suite",
      labels: { component: "web", role: "service", release: 1, restarts: 0, index },
      artifact: suite.artifact,
      command,
      env: { GREETING: "hello" },
      port: 0,
      resources: { ...defaultResources, processes: 64 },
      ...changes,
    };
    started.push(made);
    return made;
  };
  const find = async (name: string, owner = OWNER): Promise<Instance | undefined> =>
    (await driver.list(owner)).find((one) => one.name === name);
  const start = async (one: InstanceSpec): Promise<void> =>
    driver.start(one, AbortSignal.timeout(30_000));
  const untilExited = (name: string): Promise<void> =>
    until(`${name} has exited`, async () => (await find(name))?.state === "exited");
  const promise = (text: string, work: () => Promise<void>): void => {
    const reason = suite.deviations?.[text];
    void it(text, reason === undefined ? {} : { skip: reason }, work);
  };

  describe(`compute driver: ${suite.name}`, () => {
    after(async () => {
      for (const { name, owner } of started) {
        await driver.kill(owner, name);
        await until("it is gone", async () => (await find(name, owner))?.state !== "running");
        await driver.remove(owner, name);
      }
    });

    promise("starts an instance that answers at its address, with its labels", async () => {
      const one = spec(commands.serve);
      await start(one);
      await until("it answers", async () => answers(await find(one.name)));
      const seen = await find(one.name);
      assert.equal(seen?.state, "running");
      assert.deepEqual(seen.labels, one.labels);
      assert.equal(seen.owner, OWNER);
      assert.ok(Math.abs(Date.now() - seen.startedAt) < 60_000);
    });

    promise("leaves one that runs alone when it is started again", async () => {
      const one = spec(commands.serve);
      await start(one);
      await until("it answers", async () => answers(await find(one.name)));
      const before = await find(one.name);
      await start(one);
      assert.deepEqual(await find(one.name), before);
    });

    promise("is found again by a control plane that comes back", async () => {
      const one = spec(commands.serve);
      await start(one);
      await until("it runs", async () => (await find(one.name))?.state === "running");
      const seen = (await suite.reopen().list(OWNER)).find(({ name }) => name === one.name);
      assert.equal(seen?.state, "running");
      assert.deepEqual(seen.labels, one.labels);
    });

    promise("says how one ended, keeps its last output, and counts its ends", async () => {
      const one = spec(commands.exit3, {
        labels: { component: "worker", role: "worker", release: 1, restarts: 0, index: "x" },
      });
      await start(one);
      await untilExited(one.name);
      assert.equal((await find(one.name))?.exit?.code, 3);
      await start(one);
      await until("it ended twice", async () => (await find(one.name))?.exits.length === 2);
    });

    promise("says what one uses while it runs", async () => {
      const one = spec(commands.serve);
      await start(one);
      await until("it answers", async () => answers(await find(one.name)));
      const use = await driver.usage(OWNER, one.name);
      assert.ok((use?.memoryBytes ?? 0) > 0 && (use?.cpuSeconds ?? -1) >= 0, JSON.stringify(use));
      await driver.kill(OWNER, one.name);
      await untilExited(one.name);
      assert.equal(await driver.usage(OWNER, one.name), undefined);
      assert.equal(await driver.usage(OWNER, "test.suite.nothing.r1.1"), undefined);
    });

    promise("gives the last lines of output, oldest first", async () => {
      const one = spec(commands.sayAndExit);
      await start(one);
      await untilExited(one.name);
      const lines = await driver.tail(OWNER, one.name, 2);
      assert.deepEqual(lines, ["two", "three"]);
    });

    promise("gives variables to the instance, and a port where it listens", async () => {
      const one = spec(commands.showEnv);
      await start(one);
      await untilExited(one.name);
      const text = (await driver.tail(OWNER, one.name, 50)).join("\n");
      assert.match(text, /GREETING=hello/);
      assert.match(text, /PORT=\d+/);
    });

    promise(
      "gives an instance what it is fed, to its end, and nothing to one that is not",
      async () => {
        const [fed, hungry] = [
          spec(commands.sayInput, { labels: taskOf("fed"), takesInput: true }),
          spec(commands.sayInput, { labels: taskOf("hungry") }),
        ];
        for (const one of [fed, hungry]) await start(one);
        const said = async (name: string): Promise<string> =>
          (await driver.tail(OWNER, name, 10)).join("\n");
        await until("it runs", async () => (await find(fed.name))?.state === "running");
        await driver.feed(OWNER, fed.name, chunks("first\n", "and ", "last"));
        for (const { name } of [fed, hungry]) await untilExited(name);
        await until("all was said", async () => (await said(fed.name)).includes("last"));
        assert.match(await said(fed.name), /^first\nand last/);
        assert.equal(await said(hungry.name), "");
        await driver.feed(OWNER, fed.name, chunks("too late"));
      },
    );

    promise("ends one with SIGTERM and remembers that it was asked to", async () => {
      const one = spec(commands.serve);
      await start(one);
      await until("it answers", async () => answers(await find(one.name)));
      await driver.terminate(OWNER, one.name);
      await untilExited(one.name);
      const seen = await find(one.name);
      assert.notEqual(seen?.stoppingSince, undefined);
      assert.equal(seen?.exits.length, 0, "an end that was asked for is no crash");
    });

    promise("kills one that ignores SIGTERM", async () => {
      const one = spec(commands.ignoreSigterm, {
        labels: { component: "worker", role: "worker", release: 1, restarts: 0, index: "y" },
      });
      await start(one);
      await until("it has set itself up", async () =>
        (await driver.tail(OWNER, one.name, 5)).some((line) => /deaf|last words/.test(line)),
      );
      await driver.terminate(OWNER, one.name);
      await new Promise((resolve) => setTimeout(resolve, 300));
      assert.equal((await find(one.name))?.state, "running");
      await driver.kill(OWNER, one.name);
      await untilExited(one.name);
    });

    promise("does not run a task twice", async () => {
      const one = spec(commands.exit3, {
        labels: { component: "release", role: "task", release: 1, restarts: 0, index: "g1" },
      });
      await start(one);
      await untilExited(one.name);
      const before = await find(one.name);
      await start(one);
      await new Promise((resolve) => setTimeout(resolve, 200));
      assert.deepEqual((await find(one.name))?.exit, before?.exit);
    });

    promise("touches nothing of another owner", async () => {
      const one = spec(commands.serve);
      await start(one);
      await until("it runs", async () => (await find(one.name))?.state === "running");
      await driver.terminate(STRANGER, one.name);
      await driver.kill(STRANGER, one.name);
      await driver.remove(STRANGER, one.name);
      assert.equal((await find(one.name))?.state, "running");
      assert.deepEqual(await driver.list(STRANGER), []);
    });

    promise("forgets only what has exited, and says nothing of what is not there", async () => {
      const one = spec(commands.serve);
      await start(one);
      await until("it runs", async () => (await find(one.name))?.state === "running");
      await driver.remove(OWNER, one.name);
      assert.notEqual(await find(one.name), undefined);
      await driver.kill(OWNER, one.name);
      await untilExited(one.name);
      await driver.remove(OWNER, one.name);
      assert.equal(await find(one.name), undefined);
      await driver.terminate(OWNER, one.name);
      await driver.kill(OWNER, one.name);
      await driver.remove(OWNER, one.name);
      assert.deepEqual(await driver.tail(OWNER, "test.suite.nothing.r1.1", 5), []);
    });

    promise("ends one that takes more memory than its limit, and says so", async () => {
      const one = spec(commands.eatMemory, {
        resources: { ...defaultResources, processes: 64, memory: 48 * 1024 ** 2 },
        labels: { component: "worker", role: "worker", release: 1, restarts: 0, index: "z" },
      });
      await start(one);
      await untilExited(one.name);
      assert.match((await find(one.name))?.exit?.detail ?? "", /out of memory \(limit 48 MB\)/);
    });
  });
}

const taskOf = (index: string): InstanceSpec["labels"] => ({
  component: "run",
  role: "task",
  release: 1,
  restarts: 0,
  index,
});

async function* chunks(...texts: string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield Buffer.from(text);
}

function answersHttp(instance: Instance | undefined): Promise<boolean> {
  const address = instance?.address;
  if (!address) return Promise.resolve(false);
  return new Promise((resolve) => {
    const asked = request({ ...address, path: "/", agent: false, timeout: 1_000 }, (answer) => {
      answer.resume();
      resolve(true);
    });
    asked.on("error", () => resolve(false)).end();
  });
}
