import { systemClock } from "../../src/kernel/clock.ts";
import { defaultResources } from "../../src/resources/app/manifest.ts";
import { MemoryWorld, NO_FAULTS } from "../support/memory-world.ts";
import { runEdgeSuite } from "./edge-driver.suite.ts";

const world = new MemoryWorld({
  clock: systemClock,
  random: { fraction: () => 0 },
  faults: () => NO_FAULTS,
  behaviour: () => ({ healthyAfterMs: 0 }),
});

runEdgeSuite({
  name: "memory",
  edge: () => world,
  reopen: () => world,
  upstream: async (name) => {
    const labels = {
      component: "web",
      role: "service",
      release: 1,
      restarts: 0,
      index: "1",
    } as const;
    await world.start({
      name,
      owner: "suite",
      appName: "production/suite",
      labels,
      artifact: { kind: "directory", digest: "x" },
      command: "serve",
      env: {},
      port: 0,
      resources: defaultResources,
    });
    const found = (await world.list("suite")).find((one) => one.name === name);
    return found?.address?.port ?? 0;
  },
});
