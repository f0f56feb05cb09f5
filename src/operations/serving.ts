// What apps serve now, and what follows from that for whatever watches them.

import type { ResourceStore } from "../kernel/resource-store.ts";
import type { Backlog } from "../resources/app/alert-rules.ts";
import { APP } from "../resources/app/app.ts";
import { type Manifest, needsOf } from "../resources/app/manifest.ts";
import { type Objective, objectivesOf } from "../resources/app/objectives.ts";
import { CACHE_EXPORTER, DATABASE_EXPORTER, STORE_KINDS } from "../resources/engine/engine.ts";
import { RELEASE, releaseName } from "../resources/release/release.ts";

/** What apps serve now, with the manifest of the release that does. */
interface Serving {
  readonly environment: string;
  readonly app: string;
  readonly release: number;
  readonly manifest: Manifest;
}

export function servingApps(store: ResourceStore): readonly Serving[] {
  return store.list(APP).flatMap(({ name, status }) => {
    const release = status?.serving?.set.release;
    if (release === undefined) return [];
    const found = store.find(RELEASE, releaseName(name, release));
    const [environment = "", app = ""] = name.split("/");
    return found ? [{ environment, app, release, manifest: found.spec.manifest }] : [];
  });
}

export const servingObjectives = (store: ResourceStore): readonly Objective[] =>
  servingApps(store).flatMap(({ environment, app, manifest }) =>
    objectivesOf(environment, app, manifest),
  );

/** Which apps need which store. */
export function storeNeeds(store: ResourceStore) {
  const needs = new Map<string, { environment: string; kind: string; apps: string[] }>();
  for (const { environment, app, manifest } of servingApps(store))
    for (const kind of needsOf(manifest).map((one) => STORE_KINDS[one].name)) {
      const key = `${environment} ${kind}`;
      const known = needs.get(key) ?? { environment, kind, apps: [] };
      needs.set(key, { ...known, apps: [...known.apps, app].sort() });
    }
  return [...needs].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, need]) => need);
}

export const backlogsOf = (store: ResourceStore): Backlog[] =>
  servingApps(store).flatMap(({ environment, app, manifest }) =>
    Object.entries(manifest.workers).flatMap(([service, { backlog }]) =>
      backlog ? [{ environment, app, service, ...backlog }] : [],
    ),
  );

/** What the edge knows of instances that are in its pools. */
interface JoinedServers {
  servers(app: string): readonly {
    readonly service: string;
    readonly name: string;
    readonly address: { readonly host: string; readonly port: number };
  }[];
}

/** Where metrics of apps are read. */
export function metricTargets(store: ResourceStore, edge: JoinedServers) {
  return servingApps(store).flatMap(({ environment, app, manifest }) =>
    edge.servers(`${environment}/${app}`).flatMap(({ service, name, address }) => {
      const metrics = manifest.services[service]?.metrics;
      if (!metrics) return [];
      const release = /\.r(\d+)\./.exec(name)?.[1] ?? "";
      const labels = { environment, app, service, release, instance: name };
      return [{ address: `${address.host}:${address.port}`, path: metrics.path, labels }];
    }),
  );
}

/** Exporters of the environments' stores. */
export const storeTargets = (store: ResourceStore) =>
  ([DATABASE_EXPORTER, CACHE_EXPORTER] as const).flatMap((kind) =>
    store.list(kind).flatMap(({ name, status }) => {
      const job = kind === DATABASE_EXPORTER ? "postgres" : "redis";
      const address = status?.address;
      return address === undefined ? [] : [{ job, environment: name, address } as const];
    }),
  );
