// Failed requests, and orders lost or doubled, while everything that production brings happens under
// load: deploys, rollbacks, restarts, killed instances, a killed control plane.

import { Installation, STOREFRONT } from "../test/support/installation.ts";
import { pidOf } from "../test/support/instance-process.ts";
import { Load } from "../test/support/load.ts";
import { until } from "../test/support/wait.ts";

export interface DisturbanceOptions {
  readonly deploys: number;
  readonly rollbacks: number;
  readonly restarts: number;
  readonly instanceKills: number;
  readonly controlPlaneKills: number;
  readonly requestsPerSecond: number;
}

interface AppView {
  readonly instances: readonly { name: string; component: string; state: string }[];
}

export async function measureDisturbance(options: DisturbanceOptions, log: (text: string) => void) {
  const installation = new Installation();
  try {
    await installation.ok("up", "--install");
    await installation.ok("deploy", STOREFRONT);
    const load = new Load({
      origin: `https://127.0.0.1:${installation.ports.https}`,
      host: "storefront.localhost",
      caFile: installation.caFile,
      requestsPerSecond: options.requestsPerSecond,
      connections: 32,
      orderShare: 0.2,
    });
    const began = Date.now();
    load.start();
    await disturb(installation, options, log);
    const result = await load.stop();
    const seconds = (Date.now() - began) / 1000;
    const stored = await installation.query<{ idempotency_key: string; id: string }>(
      "storefront",
      "SELECT idempotency_key, id FROM orders",
    );
    const byKey = new Map(stored.map((row) => [row.idempotency_key, String(row.id)]));
    const lost = [...result.orders].filter(([key, id]) => byKey.get(key) !== id).length;
    return {
      ...options,
      seconds,
      sent: result.sent,
      achievedPerSecond: result.sent / seconds,
      failed: result.failed,
      failures: result.failures,
      promisedOrders: result.orders.size,
      storedOrders: stored.length,
      lostOrders: lost,
      doubledOrders: stored.length - byKey.size,
    };
  } finally {
    await installation.close();
  }
}

async function disturb(
  installation: Installation,
  options: DisturbanceOptions,
  log: (text: string) => void,
): Promise<void> {
  const repeat = async (
    what: string,
    times: number,
    work: (i: number) => Promise<unknown>,
  ): Promise<void> => {
    for (let i = 0; i < times; i += 1) {
      const began = Date.now();
      await work(i);
      log(`${what} ${i + 1}/${times} (${Date.now() - began} ms)`);
    }
  };
  await repeat("deploy", options.deploys, () => installation.ok("deploy", STOREFRONT));
  await repeat("rollback", options.rollbacks, () => installation.ok("rollback", "storefront"));
  await repeat("restart", options.restarts, () => installation.ok("restart", "storefront"));
  await repeat("instance kill", options.instanceKills, (i) => killInstance(installation, i));
  await repeat("control plane kill", options.controlPlaneKills, () =>
    killControlPlane(installation),
  );
}

async function killInstance(installation: Installation, i: number): Promise<void> {
  const component = i % 2 === 0 ? "web" : "api";
  const { instances } = await appView(installation);
  // Another one each time: one that ends again and again is not the question here.
  const fit = instances.filter((one) => one.component === component && one.state === "ready");
  const victim = fit[Math.floor(i / 2) % Math.max(1, fit.length)];
  if (!victim) throw new Error(`no ready instance of ${component} to kill`);
  process.kill(pidOf(installation, victim.name), "SIGKILL");
  await until(
    "the killed instance is back",
    async () => {
      const now = await appView(installation);
      const same = now.instances.filter((one) => one.state !== "warm");
      return (
        same.every(({ state }) => state === "ready") &&
        same.some(({ name }) => name === victim.name)
      );
    },
    60_000,
  );
}

async function killControlPlane(installation: Installation): Promise<void> {
  const { controlPlanePid } = installation;
  process.kill(controlPlanePid, "SIGKILL");
  await until(
    "the control plane is back",
    async () =>
      installation.controlPlanePid !== controlPlanePid &&
      (await installation.run(["status"])).code === 0,
    60_000,
  );
}

async function appView(installation: Installation): Promise<AppView> {
  const { stdout } = await installation.run(["status", "--json"]);
  const { apps } = JSON.parse(stdout) as { apps: AppView[] };
  if (!apps[0]) throw new Error("the shop is gone");
  return apps[0];
}

if (process.argv[1] === import.meta.filename) {
  const [n = "3"] = process.argv.slice(2);
  const times = Number(n);
  const options = {
    deploys: times * 2,
    rollbacks: times,
    restarts: times,
    instanceKills: times,
    controlPlaneKills: Math.ceil(times / 2),
    requestsPerSecond: 500,
  };
  console.log(
    JSON.stringify(await measureDisturbance(options, (text) => console.error(text)), null, 2),
  );
}
