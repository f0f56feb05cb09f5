// What a resource's change means outside of the state, and for other resources. Part of the composition root.

import type { ControlPlaneOptions, World } from "./compose-world.ts";
import { writeJson } from "./drivers/files.ts";
import { systemClock } from "./kernel/clock.ts";
import type { Controller } from "./kernel/controller.ts";
import type { AnyStep } from "./kernel/plan.ts";
import { retain } from "./operations/retention.ts";
import { wakeOthers } from "./operations/wakes.ts";
import { APP } from "./resources/app/app.ts";
import { CACHE, DATABASE, EDGE } from "./resources/engine/engine.ts";
import { POLICY } from "./resources/policy/policy.ts";
import { REPOSITORY } from "./resources/repository/repository.ts";
import { TELEMETRY } from "./resources/telemetry/telemetry.ts";
import type { SqliteStore } from "./store/sqlite-store.ts";

export type AnyController = Controller<unknown, object, unknown, AnyStep>;

/** Kinds whose ports or rules the packet filter holds. */
const GUARDED: readonly string[] = [EDGE, DATABASE, CACHE, POLICY].map(({ name }) => name);

export function linkKinds(
  store: SqliteStore,
  controllers: Map<string, AnyController>,
  world: World,
  { log, home: { telemetryPolicies } }: ControlPlaneOptions,
): (() => void)[] {
  // The telemetry process reads it; it has no other way to the platform's memory.
  const writePolicies = (): void => {
    const policies = store.list(TELEMETRY).map(({ name, spec }) => [name, spec] as const);
    writeJson(telemetryPolicies, Object.fromEntries(policies));
  };
  writePolicies();
  const lookAtApp = (name: string): void => controllers.get(APP.name)?.look(name);
  return [
    wakeOthers({
      store,
      clock: systemClock,
      look: ({ name: kind }, name) =>
        name === undefined ? controllers.get(kind)?.lookAtAll() : controllers.get(kind)?.look(name),
    }),
    retain({
      store,
      builder: world.builder,
      sources: world.sources,
      onProblem: (error) => log("warn", "what old releases needed could not be removed", { error }),
    }),
    store.subscribe(({ kind, name }, what) => {
      if (kind === TELEMETRY.name) writePolicies();
      if (GUARDED.includes(kind)) void world.processCompute.keepApart();
      if (kind === REPOSITORY.name && what === "forgotten") world.repositories.remove(name);
      if (kind === APP.name && what === "forgotten") {
        const [environment = "", app = ""] = name.split("/");
        world.git.remove(environment, app);
      }
    }),
    world.processCompute.watch(lookAtApp),
    world.dockerCompute.watch(lookAtApp),
  ];
}
