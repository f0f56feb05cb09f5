// One holdfast.yaml for every environment: what it says of itself, changed by its own section for the
// environment, with the hosts that the environment makes of those that it asks for.

import { invalid } from "../../kernel/error.ts";
import type { Manifest } from "./manifest.ts";

export function manifestFor(manifest: Manifest, environment: string, hosts: string): Manifest {
  const { environments, ...rest } = manifest;
  const own = environments?.[environment];
  const instances = own?.instances ?? {};
  const known = [...Object.keys(manifest.services), ...Object.keys(manifest.workers)];
  const stranger = Object.keys(instances).find((component) => !known.includes(component));
  if (stranger !== undefined)
    throw invalid(
      "manifest.invalid",
      `environments.${environment}.instances.${stranger}: there is no service or worker ${stranger}`,
      { hint: `there is: ${known.join(", ")}` },
    );
  const hostOf = (host: string): string => own?.hosts[host] ?? hostIn(hosts, host);
  return {
    ...rest,
    environments: {},
    services: mapValues(manifest.services, (service, name) => ({
      ...service,
      instances: instances[name] ?? service.instances,
      routes: service.routes.map((route) => ({ ...route, host: hostOf(route.host) })),
    })),
    workers: mapValues(manifest.workers, (worker, name) => ({
      ...worker,
      instances: instances[name] ?? worker.instances,
    })),
    config: { ...manifest.config, ...own?.config },
    rollout: own?.rollout ?? manifest.rollout,
  };
}

/** `staging.{host}` of `shop.example.com` and of `*.example.com`. */
export function hostIn(pattern: string, host: string): string {
  const isWild = host.startsWith("*.");
  const named = pattern.replace("{host}", isWild ? host.slice(2) : host);
  return isWild ? `*.${named}` : named;
}

function mapValues<Value>(
  values: Readonly<Record<string, Value>>,
  map: (value: Value, name: string) => Value,
): Record<string, Value> {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, map(value, name)]),
  );
}
