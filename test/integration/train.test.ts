// Several apps released together, on a real installation: forwards in the order of what needs what,
// and backwards where one of them fails.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { ChangeView } from "../../src/api/change-routes.ts";
import type { TrainView } from "../../src/api/train-routes.ts";
import { AppFolder, ECHO_SERVER } from "../support/app-folder.ts";
import { type CommandResult, Installation } from "../support/installation.ts";
import { until } from "../support/wait.ts";

const manifest = (name: string, needs: string): string => `
name: ${name}
needs: [${needs}]
services: { web: { command: node server.js, health: { grace: 5s }, routes: [{ host: ${name}.localhost }] } }
`;

interface Status {
  readonly apps: readonly { name: string; release?: number }[];
}

describe("a train of apps", { timeout: 300_000 }, () => {
  const holdfast = new Installation();
  const apps = { page: new AppFolder({}, "page"), ledger: new AppFolder({}, "ledger") };
  const deploy = async (name: keyof typeof apps, server: string): Promise<void> => {
    const needs = name === "page" ? "ledger" : "";
    apps[name].write({ "server.js": server, "holdfast.yaml": manifest(name, needs) });
    await holdfast.ok("deploy", apps[name].dir, "--env", "staging");
  };
  const start = (...args: string[]): Promise<CommandResult> =>
    holdfast.run(["train", "start", ...args, "--from", "staging", "--to", "production", "--json"]);
  const serving = async (): Promise<Record<string, number | undefined>> => {
    const { apps: all } = await holdfast.status<Status>();
    return Object.fromEntries(all.map(({ name, release }) => [name, release]));
  };

  before(async () => {
    await holdfast.ok("up", "--install");
    await holdfast.ok("env", "create", "staging");
    await deploy("page", ECHO_SERVER);
    await deploy("ledger", ECHO_SERVER);
  });
  after(async () => {
    await holdfast.close();
    for (const app of Object.values(apps)) app.remove();
  });

  it("promotes each after what it needs", async () => {
    const { code, stdout } = await start("page", "ledger");
    assert.equal(code, 0, stdout);
    const { cars, phase } = JSON.parse(stdout) as TrainView;
    assert.deepEqual(
      cars.map(({ app }) => app),
      ["ledger", "page"],
    );
    assert.equal(phase, "succeeded");
    assert.deepEqual(await serving(), { ledger: 1, page: 1 });
    const { changes } = await holdfast.json<{ changes: { summary: string; phase: string }[] }>(
      "changes",
    );
    assert.match(changes[0]?.summary ?? "", /a train of ledger, page from staging/);
    assert.equal(changes[0]?.phase, "succeeded");
  });

  it("takes back what it released where a later one fails", async () => {
    await deploy("ledger", `${ECHO_SERVER}\n// 2`);
    // Well in staging; in production it does not find its way.
    await deploy(
      "page",
      `if (process.env.HOLDFAST_ENVIRONMENT === "production") process.exit(3);\n${ECHO_SERVER}`,
    );
    const { code, stdout } = await start("page", "ledger");
    assert.equal(code, 3, stdout);
    const { states, phase, text } = JSON.parse(stdout) as TrainView;
    assert.equal(phase, "undone");
    assert.match(text, /page failed \(web ended with exit status 3/);
    assert.deepEqual(
      states.map(({ app, state }) => [app, state]),
      [
        ["ledger", "undone"],
        ["page", "failed"],
      ],
    );
    assert.deepEqual(await serving(), { ledger: 1, page: 1 });
    // Only what failed is held: what went back with it did nothing wrong.
    const { holds } = await holdfast.json<{ holds: { app: string }[] }>("hold", "list");
    assert.deepEqual([...new Set(holds.map(({ app }) => app))], []);
    // Beforehand it is written down what each of its apps would do, and how it is undone.
    const { changes } = await holdfast.json<{ changes: ChangeView[] }>("changes");
    const record = changes.find(({ summary }) => /a train of ledger, page/.test(summary));
    assert.ok(record?.diff.some(({ what }) => what === "ledger: release"));
    assert.ok(record?.plan.some((step) => step.startsWith("page: ")));
    assert.match(record?.rollback ?? "", /ledger to release 1, page to release 1/);
  });

  it("goes on where it was after kill -9", async () => {
    await deploy("page", `${ECHO_SERVER}\n// 3`);
    const trains = async (): Promise<readonly TrainView[]> =>
      (await holdfast.json<{ trains: TrainView[] }>("train", "list")).trains;
    const before = (await trains()).length;
    const running = start("page", "ledger");
    await until("it has begun", async () => (await trains()).length > before);
    process.kill(holdfast.controlPlanePid, "SIGKILL");
    await holdfast.ok("up");
    await running;
    let view: TrainView | undefined;
    await until("it has come to its end", async () => {
      [view] = await trains();
      return view?.phase !== "running" && view?.phase !== "undoing";
    });
    assert.equal(view?.phase, "succeeded", view?.text ?? "no train");
  });

  it("is of the releases that it was asked with, also where others have taken their numbers", async () => {
    await deploy("page", `${ECHO_SERVER}\n// 4`);
    const before = await serving();
    const soon = new Date(Date.now() + 600_000).toISOString();
    await holdfast.ok("freeze", "set", "hold", "--until", soon, "--reason", "a test");
    const { code, stdout } = await start("page", "ledger", "--no-wait");
    assert.equal(code, 0, stdout);
    const { apps: there } = await holdfast.json<Status>("status", "--env", "staging");
    const number = there.find(({ name }) => name === "page")?.release ?? 0;
    await holdfast.ok("destroy", "page", "--env", "staging", "--confirm", "page");
    for (let release = 1; release <= number; release += 1)
      await deploy("page", `${ECHO_SERVER}\n// another ${release}`);
    await holdfast.ok("freeze", "remove", "hold", "--emergency", "--reason", "a test");
    let last: ChangeView | undefined;
    await until("the change has come to its end", async () => {
      const { changes } = await holdfast.json<{ changes: ChangeView[] }>("changes");
      last = changes.find(({ summary }) => /a train of/.test(summary));
      return last?.phase === "rejected" || last?.phase === "succeeded";
    });
    assert.equal(last?.phase, "rejected");
    assert.match(
      JSON.stringify(last),
      /release \d+ of page in staging is not the one that this train/,
    );
    assert.deepEqual(await serving(), before);
  });

  it("is refused where it could not end", async () => {
    const refused = async (args: string[], message: RegExp): Promise<void> => {
      const { code, stdout } = await start(...args);
      assert.equal(code, 2, stdout);
      assert.match(stdout, message);
    };
    await refused(["page"], /at least two apps/);
    await refused(["page", "nobody"], /nobody never ran in staging/);
    apps.ledger.write({ "holdfast.yaml": manifest("ledger", "page") });
    await holdfast.ok("deploy", apps.ledger.dir, "--env", "staging");
    await refused(["page", "ledger"], /need each other in a circle/);
  });
});
