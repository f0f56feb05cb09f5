// What every installation has from its first moment, and environments of an earlier build do not have yet.

import { type ResourceStore, SYSTEM } from "../kernel/resource-store.ts";
import { PLATFORM } from "../kernel/signal.ts";
import {
  ALERTING,
  EDGE,
  EDGE_NAME,
  ENVIRONMENT_ENGINES,
  type EngineSpec,
  HOST_EXPORTER,
  METRICS,
} from "../resources/engine/engine.ts";
import { ENVIRONMENT } from "../resources/environment/environment.ts";

export function seed(store: ResourceStore): void {
  const options = { actor: SYSTEM, action: "install" };
  const write = (kind: typeof EDGE, name: string, engine: EngineSpec["engine"]): void => {
    store.writeSpec(kind, name, { engine }, options);
  };
  write(EDGE, EDGE_NAME, "haproxy");
  write(METRICS, PLATFORM, "prometheus");
  write(ALERTING, PLATFORM, "alertmanager");
  write(HOST_EXPORTER, PLATFORM, "node-exporter");
  // What an environment of an earlier build does not have yet.
  for (const { name } of store.list(ENVIRONMENT))
    for (const [kind, engine] of ENVIRONMENT_ENGINES) write(kind, name, engine);
}
