// kill -9 of the control plane after every journal entry of a deploy, under load: no request fails, no
// order is lost, and every deploy comes to its end.

import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, before, describe, it } from "node:test";
import { setImmediate } from "node:timers/promises";
import { Installation, STOREFRONT } from "../support/installation.ts";
import { Load } from "../support/load.ts";
import { until } from "../support/wait.ts";

/** What a journal entry is after: a build, a release command, starts, joins, a shift, and what makes room. */
const FEWEST_ENTRIES = 20;

/** Steps after which it must have been killed, wherever in a deploy they come. */
const STEPS = ["start-instance", "join-pool", "shift-traffic", "terminate-instance"];

type Wanted = (step: string, count: number) => boolean;

interface AppView {
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
      await setImmediate();
    }
  }

  close(): void {
    this.#db.close();
  }
}

describe("a control plane that is killed", { timeout: 600_000 }, () => {
  const holdfast = new Installation();
  const shop = async (): Promise<AppView | undefined> => {
    const { code, stdout } = await holdfast.run(["status", "--json"]);
    if (code === 75) return undefined;
    return (JSON.parse(stdout) as { apps: AppView[] }).apps[0];
  };

  const untilSettled = (what: string): Promise<void> =>
    until(
      `${what} has come to its end`,
      async () => {
        const app = await shop();
        const rests = app?.instances.every(({ state }) => state === "ready" || state === "warm");
        return app !== undefined && app.rollout === undefined && rests === true;
      },
      60_000,
    );
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
    const killAfter = async (what: string, isWanted: Wanted): Promise<boolean> => {
      const { controlPlanePid } = holdfast;
      const begin = journal.lastId();
      const deploying = holdfast.run(["deploy", STOREFRONT, "--json"]);
      let isOver = false;
      const over = deploying
        .then(() => untilSettled(`the deploy to be killed after ${what}`))
        .finally(() => {
          isOver = true;
        });
      const step = await journal.entryAfter(begin, isWanted, () => isOver);
      if (step === undefined) {
        await over;
        return false;
      }
      over.catch(() => undefined);
      process.kill(controlPlanePid, "SIGKILL");
      killedAfter.push(step);
      await deploying;
      await until(
        "it is back",
        async () => holdfast.controlPlanePid !== controlPlanePid && (await shop()) !== undefined,
        60_000,
      );
      await untilSettled(`the deploy that was killed after ${what} (${step})`);
      return true;
    };
    try {
      // Until a deploy is over before it has come so far.
      let entry = 1;
      while (await killAfter(`entry ${entry}`, (_, count) => count >= entry)) entry += 1;
      // Which entry comes at which place differs by how fast instances start and end.
      for (const wanted of STEPS.filter((step) => !killedAfter.includes(step)))
        assert.ok(await killAfter(wanted, (step) => step === wanted), `a deploy without ${wanted}`);
    } finally {
      result = await load.stop();
    }
    assert.ok(killedAfter.length >= FEWEST_ENTRIES, `killed ${killedAfter.length} times`);
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
});
