// kill -9 of the control plane at many moments of a deploy, under load: no request fails, no order is
// lost, and every deploy comes to its end.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Installation, STOREFRONT } from "../support/installation.ts";
import { Load } from "../support/load.ts";
import { until } from "../support/wait.ts";

const MOMENTS_MS = [20, 120, 260, 420, 700, 1_000, 1_250, 1_500];

interface AppView {
  readonly release?: number;
  readonly rollout?: unknown;
  readonly instances: readonly { state: string; release: number }[];
}

describe("a control plane that is killed", { timeout: 300_000 }, () => {
  const holdfast = new Installation();
  const shop = async (): Promise<AppView | undefined> => {
    const { code, stdout } = await holdfast.run(["status", "--json"]);
    if (code === 75) return undefined;
    return (JSON.parse(stdout) as { apps: AppView[] }).apps[0];
  };

  before(async () => {
    await holdfast.ok("up", "--install");
    await holdfast.ok("deploy", STOREFRONT);
  });
  after(() => holdfast.close());

  it(`disturbs no request and finishes what it had begun, at ${MOMENTS_MS.length} moments of a deploy`, async () => {
    const load = new Load({
      origin: `https://127.0.0.1:${holdfast.ports.https}`,
      host: "storefront.localhost",
      caFile: holdfast.caFile,
      requestsPerSecond: 100,
      connections: 8,
      orderShare: 0.2,
    });
    load.start();
    let result: Awaited<ReturnType<Load["stop"]>> | undefined;
    try {
      for (const [i, moment] of MOMENTS_MS.entries()) {
        const { controlPlanePid } = holdfast;
        const deploying = holdfast.run(["deploy", STOREFRONT, "--json"]);
        await new Promise((resolve) => setTimeout(resolve, moment + 250));
        process.kill(controlPlanePid, "SIGKILL");
        await deploying;
        await until(
          "it is back",
          async () => holdfast.controlPlanePid !== controlPlanePid && (await shop()) !== undefined,
          60_000,
        );
        await until(
          `the deploy of round ${i + 1} has come to its end`,
          async () => {
            const app = await shop();
            const live =
              app?.instances.filter(({ state }) => state === "ready" || state === "warm") ?? [];
            return (
              app !== undefined && app.rollout === undefined && live.length === app.instances.length
            );
          },
          60_000,
        );
      }
    } finally {
      result = await load.stop();
    }
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
