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

  /** Waits for the entry of this id, and says what it does; undefined where it is over without. */
  async entry(id: number, isOver: () => boolean): Promise<string | undefined> {
    const find = this.#db.prepare("SELECT step FROM journal WHERE id = ?");
    for (let row = find.get(id); ; row = find.get(id)) {
      if (row) return (JSON.parse(String(row["step"])) as { do: string }).do;
      if (isOver()) return undefined;
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
    try {
      // Until a deploy is over before it has come so far.
      for (let count = 1; ; count += 1) {
        const { controlPlanePid } = holdfast;
        const target = journal.lastId() + count;
        const deploying = holdfast.run(["deploy", STOREFRONT, "--json"]);
        let isOver = false;
        const over = deploying
          .then(() => untilSettled(`deploy ${count}`))
          .finally(() => {
            isOver = true;
          });
        const step = await journal.entry(target, () => isOver);
        if (step === undefined) {
          await over;
          break;
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
        await untilSettled(`the deploy that was killed after entry ${count} (${step})`);
      }
    } finally {
      result = await load.stop();
    }
    assert.ok(killedAfter.length >= FEWEST_ENTRIES, `killed ${killedAfter.length} times`);
    for (const step of ["start-instance", "join-pool", "shift-traffic", "terminate-instance"])
      assert.ok(killedAfter.includes(step), `killed after ${step}: ${killedAfter.join(" ")}`);
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
