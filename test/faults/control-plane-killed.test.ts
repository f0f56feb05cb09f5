// kill -9 of the control plane after journal entries of a deploy, under load: no request fails, no
// order is lost, and every deploy comes to its end; a canary to the end that its traffic says.

import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, before, describe, it } from "node:test";
import { setTimeout } from "node:timers/promises";
import { AppFolder } from "../support/app-folder.ts";
import { Installation, STOREFRONT } from "../support/installation.ts";
import { Load } from "../support/load.ts";
import { until } from "../support/wait.ts";

/** What a journal entry is after: a build, a release command, starts, joins, a shift, and what makes room. */
const FEWEST_ENTRIES = 20;

/** Steps after which it must have been killed, wherever in a deploy they come. */
const STEPS = ["start-instance", "join-pool", "shift-traffic", "terminate-instance"];

const FEWEST_CANARY_ENTRIES = 3;
const CANARY_ENTRIES_MAX = 40;
/** 1: after each entry; otherwise after every third, on the next day the one after those. */
const EVERY = Number(process.env["HOLDFAST_KILL_EVERY"] ?? 3);
const TODAY = Math.floor(Date.now() / 86_400_000) % EVERY;

const serverOf = (line: string): string => `
require("node:http").createServer((request, response) => {
  ${line}
  response.end(process.env.HOLDFAST_RELEASE);
}).listen(process.env.PORT, process.env.HOST);
process.on("SIGTERM", () => setTimeout(() => process.exit(0), 300));
`;
const canary = (name: string): string => `
name: ${name}
services:
  web:
    command: node server.js
    health: { path: / , status: 200-599 }
    routes: [{ host: ${name}.localhost }]
    limits: { requestsPerSecond: 10000 }
rollout:
  strategy: canary
  steps: [{ share: 20%, for: 2s }, { share: 50%, for: 1s }]
  analysis: { minRequests: 10, warmUp: 0s }
  watch: 0s
`;

type Wanted = (step: string, count: number) => boolean;

interface AppView {
  readonly name: string;
  readonly release?: number;
  readonly rollout?: unknown;
  readonly instances: readonly { state: string; release: number }[];
}

/** The journal as the control plane writes it, read from outside. */
class Journal {
  readonly #db: DatabaseSync;

  constructor(path: string) {
    this.#db = new DatabaseSync(path, { readOnly: true });
  }

  lastId(): number {
    const row = this.#db.prepare("SELECT max(id) AS id FROM journal").get();
    return Number(row?.["id"] ?? 0);
  }

  /** Waits for the first entry after this one that is wanted, and says what it does; undefined where it is over without. */
  async entryAfter(
    id: number,
    isWanted: Wanted,
    isOver: () => boolean,
  ): Promise<string | undefined> {
    const find = this.#db.prepare("SELECT step FROM journal WHERE id > ? ORDER BY id");
    for (;;) {
      const isLast = isOver();
      const steps = find.all(id).map(({ step }) => (JSON.parse(String(step)) as { do: string }).do);
      const step = steps.find((name, index) => isWanted(name, index + 1));
      if (step !== undefined || isLast) return step;
      await setTimeout(1);
    }
  }

  close(): void {
    this.#db.close();
  }
}

describe("a control plane that is killed", { timeout: 900_000 }, () => {
  const holdfast = new Installation();
  const viewOf = async (name: string): Promise<AppView | undefined> => {
    const { code, stdout } = await holdfast.run(["status", "--json"]);
    if (code === 75) return undefined;
    return (JSON.parse(stdout) as { apps: AppView[] }).apps.find((one) => one.name === name);
  };

  const untilSettled = (name: string, what: string): Promise<void> =>
    until(`${what} has come to its end`, async () => {
      const app = await viewOf(name);
      const rests = app?.instances.every(({ state }) => state === "ready" || state === "warm");
      return app !== undefined && app.rollout === undefined && rests === true;
    });

  /** Nothing is done any more: what comes next is of what is asked for next. */
  const quiet = async (): Promise<void> => {
    for (let known = -1; known !== journal.lastId(); ) {
      known = journal.lastId();
      await setTimeout(2_000);
    }
  };

  /** Kills after the first entry of a deploy that is wanted; undefined where it is over without. */
  const killAfter = async (
    name: string,
    dir: string,
    what: string,
    isWanted: Wanted,
  ): Promise<string | undefined> => {
    const { controlPlanePid } = holdfast;
    const begin = journal.lastId();
    const deploying = holdfast.run(["deploy", dir, "--json"]);
    let isOver = false;
    const over = deploying
      .then(() => untilSettled(name, `the deploy to be killed after ${what}`))
      .finally(() => {
        isOver = true;
      });
    const step = await journal.entryAfter(begin, isWanted, () => isOver);
    if (step === undefined) {
      await over;
      return undefined;
    }
    over.catch(() => undefined);
    process.kill(controlPlanePid, "SIGKILL");
    await deploying;
    await until(
      "it is back",
      async () =>
        holdfast.controlPlanePid !== controlPlanePid && (await viewOf(name)) !== undefined,
    );
    await untilSettled(name, `the deploy that was killed after ${what} (${step})`);
    return step;
  };
  let journal: Journal;

  before(async () => {
    await holdfast.ok("up", "--install");
    await holdfast.ok("deploy", STOREFRONT);
    await holdfast.ok("deploy", STOREFRONT);
    journal = new Journal(join(holdfast.home, "state", "holdfast.db"));
  });
  after(async () => {
    journal.close();
    await holdfast.close();
  });

  it("disturbs no request and finishes what it had begun, after every journal entry of a deploy", async () => {
    const load = new Load({
      origin: `https://127.0.0.1:${holdfast.ports.https}`,
      host: "storefront.localhost",
      caFile: holdfast.caFile,
      requestsPerSecond: 100,
      connections: 8,
      orderShare: 0.2,
    });
    load.start();
    const killedAfter: string[] = [];
    let result: Awaited<ReturnType<Load["stop"]>> | undefined;
    const killShop = async (what: string, isWanted: Wanted): Promise<boolean> => {
      const step = await killAfter("storefront", STOREFRONT, what, isWanted);
      if (step !== undefined) killedAfter.push(step);
      return step !== undefined;
    };
    try {
      // Until a deploy is over before it has come so far.
      let entry = 1 + TODAY;
      while (await killShop(`entry ${entry}`, (_, count) => count >= entry)) entry += EVERY;
      // Which entry comes at which place differs by how fast instances start and end.
      for (const wanted of STEPS.filter((step) => !killedAfter.includes(step)))
        assert.ok(await killShop(wanted, (step) => step === wanted), `a deploy without ${wanted}`);
    } finally {
      result = await load.stop();
    }
    const fewest = Math.floor(FEWEST_ENTRIES / EVERY);
    assert.ok(killedAfter.length >= fewest, `killed ${killedAfter.length} times`);
    assert.deepEqual(result.failures, []);
    assert.equal(result.failed, 0);
    const stored = await holdfast.query<{ idempotency_key: string; id: string }>(
      "storefront",
      "SELECT idempotency_key, id FROM orders",
    );
    const byKey = new Map(stored.map((row) => [row.idempotency_key, String(row.id)]));
    for (const [key, id] of result.orders) assert.equal(byKey.get(key), id);
    assert.equal(stored.length, byKey.size);
  });

  for (const [outcome, server, errors] of [
    ["comes to its users", "", 0],
    ["is taken back", "if (Math.random() < 0.4) { response.statusCode = 500; }", 0.2],
  ] as const) {
    it(`ends every canary that ${outcome} as it would have ended, after every journal entry`, async () => {
      const name = errors > 0 ? "worse" : "steady";
      const app = new AppFolder({ "holdfast.yaml": canary(name), "server.js": serverOf("") }, name);
      await holdfast.ok("deploy", app.dir);
      const load = new Load({
        origin: `https://127.0.0.1:${holdfast.ports.https}`,
        host: `${name}.localhost`,
        caFile: holdfast.caFile,
        requestsPerSecond: 60,
        connections: 8,
        orderShare: 0,
      });
      load.start();
      const killedAfter: string[] = [];
      let deploys = 0;
      let result: Awaited<ReturnType<Load["stop"]>> | undefined;
      try {
        const first = (await viewOf(name))?.release;
        // Every one of them takes a while; what comes before anybody gets it is the same for both.
        const [begin, stride] = errors > 0 ? [3, EVERY] : [1, EVERY];
        const killOne = async (what: string, isWanted: Wanted): Promise<boolean> => {
          await quiet();
          app.write({ "server.js": serverOf(server), "notes.txt": what });
          const step = await killAfter(name, app.dir, what, isWanted);
          // Also one that was over before it was to be killed.
          deploys += 1;
          if (step === undefined) return false;
          killedAfter.push(step);
          const serving = (await viewOf(name))?.release;
          const expected = errors > 0 ? first : (first ?? 0) + deploys;
          assert.equal(serving, expected, `killed after ${what} (${step})`);
          return true;
        };
        for (let entry = begin; entry <= CANARY_ENTRIES_MAX; entry += stride)
          if (!(await killOne(`entry ${entry}`, (_, count) => count >= entry))) break;
        // Which entry comes at which place differs by how fast instances start and end.
        if (!killedAfter.includes("shift-traffic"))
          assert.ok(await killOne("shift-traffic", (step) => step === "shift-traffic"));
      } finally {
        result = await load.stop();
        app.remove();
      }
      assert.ok(killedAfter.length >= FEWEST_CANARY_ENTRIES, killedAfter.join(", "));
      if (errors === 0) assert.deepEqual([result.failed, result.failures], [0, []]);
      else assert.ok(result.failed < result.sent * errors, `${result.failed} of ${result.sent}`);
    });
  }
});
