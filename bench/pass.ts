// What a pass costs with many apps: 1,000 apps with 10 instances each over 100, in-memory drivers.

import { systemClock } from "../src/kernel/clock.ts";
import { reconcileOnce } from "../src/kernel/controller.ts";
import { systemRandom } from "../src/kernel/id.ts";
import { Redacted } from "../src/kernel/redacted.ts";
import { APP, type App, type AppSpec } from "../src/resources/app/app.ts";
import { createAppReconciler } from "../src/resources/app/app-reconciler.ts";
import { manifestSchema } from "../src/resources/app/manifest.ts";
import { RELEASE, type ReleaseSpec, releaseName } from "../src/resources/release/release.ts";
import { openDatabase } from "../src/store/database.ts";
import { SqliteStore } from "../src/store/sqlite-store.ts";
import { MemoryWorld, NO_FAULTS } from "../test/support/memory-world.ts";

const ACTOR = { name: "bench", from: "bench" };
const INSTANCES = 10;
const SETTLE_PASSES = 60;
const ROUNDS = 5;

export async function measurePass() {
  // In turn, so that the machine's mood is shared; the first of each is the warm-up.
  const costs: Record<number, number[]> = { 100: [], 1000: [] };
  const worlds = new Map([
    [100, await settledWorld(100)],
    [1_000, await settledWorld(1_000)],
  ]);
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const [count, pass] of worlds) {
      const began = performance.now();
      await pass();
      if (round > 0) costs[count]?.push((performance.now() - began) / count);
    }
  }
  const median = (count: number): number =>
    costs[count]?.toSorted((a, b) => a - b)[Math.floor(ROUNDS / 2)] ?? 0;
  return {
    msPerAppOf100: median(100),
    msPerAppOf1000: median(1_000),
    ratio: median(1_000) / median(100),
  };
}

async function settledWorld(count: number): Promise<() => Promise<void>> {
  const store = new SqliteStore(
    openDatabase(":memory:"),
    systemClock,
    systemRandom,
    Buffer.alloc(32, 7),
  );
  const worlds = new Map<string, MemoryWorld>();
  const worldOf = (name: string): MemoryWorld => {
    const known =
      worlds.get(name) ??
      new MemoryWorld({
        clock: systemClock,
        random: { fraction: () => 0 },
        faults: () => NO_FAULTS,
        behaviour: () => ({ healthyAfterMs: 0 }),
      });
    worlds.set(name, known);
    return known;
  };
  const names = Array.from({ length: count }, (_, i) => `production/app-${i}`);
  for (const name of names) plant(store, name);
  const reconcile = async (name: string): Promise<void> => {
    const app = store.find(APP, name) as App;
    const world = worldOf(name);
    const reconciler = createAppReconciler({
      clock: systemClock,
      store,
      leases: store,
      compute: () => world,
      probe: world,
      edge: world,
      stores: {
        readiness: async () => ({ ready: true, startedAt: 0 }),
        ensureAccess: async () => ({}),
        ports: async () => [],
        makeCopy: async () => undefined,
        copyState: async () => ({ state: "none" }),
        takenInCopy: async () => [],
        dropCopy: async () => undefined,
        hasData: async () => false,
        dropData: async () => undefined,
      },
      secrets: { read: () => new Redacted("") },
      telemetry: { ports: [], variables: () => ({}) },
      traffic: world,
      smoke: world,
      publicUrl: (host) => host,
    });
    await reconcileOnce(app, reconciler, { store, journal: store }, AbortSignal.timeout(60_000));
  };
  for (let i = 0; i < SETTLE_PASSES; i += 1) {
    await Promise.all(names.map(reconcile));
    const isSettled = names.every(
      (name) => store.find(APP, name)?.status?.pass?.verdict === "converged",
    );
    if (isSettled) break;
  }
  return async () => {
    for (const name of names) await reconcile(name);
  };
}

function plant(store: SqliteStore, name: string): void {
  const app = name.split("/")[1] ?? "";
  const manifest = manifestSchema.parse({
    name: app,
    services: {
      web: { command: "x", instances: INSTANCES, routes: [{ host: `${app}.localhost` }] },
    },
  });
  const spec: ReleaseSpec = {
    environment: "production",
    app: name,
    number: 1,
    reason: "deploy",
    manifest,
    source: { digest: "s", bytes: 1, inferred: [] },
    config: { version: 0, values: {}, set: {} },
    secrets: {},
    createdBy: "bench",
  };
  const release = store.writeSpec(RELEASE, releaseName(name, 1), spec, {
    actor: ACTOR,
    action: "bench",
  });
  store.writeStatus(release, release.uid, {
    phase: "ready",
    artifact: { kind: "directory", digest: "a" },
  });
  const appSpec: AppSpec = {
    environment: "production",
    release: 1,
    restarts: {},
    scale: {},
    reason: "deploy",
  };
  store.writeSpec(APP, name, appSpec, { actor: ACTOR, action: "bench" });
}

if (process.argv[1] === import.meta.filename)
  console.log(JSON.stringify(await measurePass(), null, 2));
