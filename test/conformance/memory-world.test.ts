import { systemClock } from "../../src/kernel/clock.ts";
import type { InstanceSpec } from "../../src/resources/app/app-driver.ts";
import { MemoryWorld, NO_FAULTS } from "../support/memory-world.ts";
import { runComputeSuite } from "./compute-driver.suite.ts";

const NO_PROCESS = "there is no process behind it: no output, no variables, no memory to take";

const world = new MemoryWorld({
  clock: systemClock,
  random: { fraction: () => 0 },
  faults: () => NO_FAULTS,
  behaviour: ({ command }: InstanceSpec) =>
    command === "exit3"
      ? { healthyAfterMs: 0, exit: { afterMs: 5, code: 3 } }
      : { healthyAfterMs: 0, ignoresSigterm: command === "ignoreSigterm" },
});

runComputeSuite({
  name: "memory",
  driver: world,
  reopen: () => world,
  artifact: { kind: "directory", digest: "test" },
  commands: {
    serve: "serve",
    ignoreSigterm: "ignoreSigterm",
    exit3: "exit3",
    sayAndExit: "say",
    showEnv: "env",
    eatMemory: "eat",
    sayInput: "cat",
  },
  answers: async (instance) => instance !== undefined && world.isHealthy(instance.name),
  deviations: Object.fromEntries(
    [
      "gives the last lines of output, oldest first",
      "gives variables to the instance, and a port where it listens",
      "gives an instance what it is fed, to its end, and nothing to one that is not",
      "ends one that takes more memory than its limit, and says so",
    ].map((promise) => [promise, NO_PROCESS]),
  ),
});
