// What one look at the world tells about an app, and the questions that both the report and the
// plan ask of it.

import type { ArmCounts, ResourceUse } from "../../kernel/signal.ts";
import type { Release } from "../release/release.ts";
import type { RolloutWish } from "../rollout/rollout.ts";
import type { App, InstanceSet, Placement, Slot } from "./app.ts";
import { instanceName, isSameSet } from "./app.ts";
import type {
  CopyState,
  EdgeDeclaration,
  EdgeRoute,
  EdgeTraffic,
  EdgeView,
  Instance,
  PoolPolicy,
  ProbeResult,
  StoresReadiness,
} from "./app-driver.ts";
import type { Tally } from "./judgement/sequential-test.ts";
import {
  type Component,
  componentsOf,
  defaultLimits,
  healthOf,
  type Manifest,
} from "./manifest.ts";
import { defaultRollout, type RolloutPolicy } from "./rollout-policy.ts";

/** Traffic of both releases since the last look, as the rollout's judgement needs it next. */
export type Comparison =
  | {
      readonly baseline: readonly ArmCounts[];
      /** Of what serves in the first minutes that it had requests. */
      readonly cold?: readonly ArmCounts[];
      readonly since: number;
    }
  | {
      readonly block: readonly ArmCounts[];
      readonly until: number;
      /** The stage so far, with quantiles. */
      readonly arms?: readonly ArmCounts[];
      /** What serves, since some minutes before the stage, with how its outcomes vary. */
      readonly clustered?: readonly ArmCounts[];
      readonly metrics?: Readonly<Record<string, MetricReading>>;
    };

/** A figure of the app's own, for both releases; null where there was none. */
export interface MetricReading {
  readonly candidate: number | null;
  readonly serving: number | null;
  /** Where it is told as bad of total: both, since the last look. */
  readonly tallies?: { readonly candidate: Tally; readonly serving: Tally };
  /** Up to when that is. */
  readonly through?: number;
  readonly problem?: string;
}

export interface WatchedTraffic {
  readonly until: number;
  /** Objective (`availability web`) → requests since the last look. */
  readonly seen: Readonly<Record<string, Tally>>;
  /** Latency objective → requests that hang for longer than it allows. */
  readonly waiting?: Readonly<Record<string, number>>;
  /** The same of the release before; told once. */
  readonly before?: Readonly<Record<string, Tally>>;
  readonly design?: Readonly<Record<string, number>>;
}

export interface AppObserved {
  readonly now: number;
  /** Those releases that the spec or the status speak of, its instances included. */
  readonly releases: ReadonlyMap<number, Release>;
  readonly instances: readonly Instance[];
  /** Of running service instances that are in no pool yet. */
  readonly probes: ReadonlyMap<string, ProbeResult>;
  /** Last output of instances that a report may have to explain. */
  readonly tails: ReadonlyMap<string, readonly string[]>;
  readonly edge: EdgeView | undefined;
  /** What the last pass could not do. */
  readonly failure?: { readonly reason?: string; readonly hint?: string } | undefined;
  readonly stores: StoresReadiness;
  /** Of the schema, for a rehearsal; looked at while one may be there. */
  readonly copy?: CopyState;
  /** What the rehearsal took from it; looked at once it has ended well. */
  readonly taken?: readonly string[];
  /** What a person wants of the rollout under way. */
  readonly wish?: RolloutWish | undefined;
  /** Results of the smoke checks, by their place in the policy. */
  readonly smoke: ReadonlyMap<number, ProbeResult>;
  /** What requests say of the candidate; undefined while there is nothing new. */
  readonly comparison?: Comparison | undefined;
  /** Requests of the release that is watched. */
  readonly watched?: WatchedTraffic | undefined;
  /** Instance → what it uses; looked at while a candidate is judged. */
  readonly usage: ReadonlyMap<string, ResourceUse>;
  /** Looked at only where the deletion of data was asked for. */
  readonly hasData: boolean;
  /** Job → the latest time it was due, and the next. */
  readonly schedule: ReadonlyMap<
    string,
    { readonly lastDueAt: number; readonly nextDueAt: number }
  >;
}

export const RELEASE_TASK = "release";
export const REHEARSAL_TASK = "rehearsal";

export const manifestOf = (observed: AppObserved, release: number): Manifest | undefined =>
  observed.releases.get(release)?.spec.manifest;

/** That of the release; a release of an earlier build says nothing of it. */
export const policyOf = (observed: AppObserved, release: number): RolloutPolicy =>
  manifestOf(observed, release)?.rollout ?? defaultRollout;

export function targetSet(app: App): InstanceSet {
  const { release, restarts } = app.spec;
  return { release, restarts: restarts[String(release)] ?? 0 };
}

export function countsFor(app: App, manifest: Manifest): Record<string, number> {
  return Object.fromEntries(
    componentsOf(manifest).map(({ name, instances }) => [name, app.spec.scale[name] ?? instances]),
  );
}

export interface WantedInstance {
  readonly name: string;
  readonly index: number;
  readonly component: Component;
  readonly placement: Placement;
}

/** Every instance that the placement asks for, by name. */
export function wantedIn(
  app: App,
  placement: Placement | undefined,
  observed: AppObserved,
): readonly WantedInstance[] {
  const manifest = placement && manifestOf(observed, placement.set.release);
  if (!placement || !manifest) return [];
  return componentsOf(manifest).flatMap((component) =>
    Array.from({ length: placement.counts[component.name] ?? 0 }, (_, i) => ({
      name: instanceName(app.name, component.name, placement.set, i + 1),
      index: i + 1,
      component,
      placement,
    })),
  );
}

export const findInstance = (observed: AppObserved, name: string): Instance | undefined =>
  observed.instances.find((instance) => instance.name === name);

export const findServer = (observed: AppObserved, name: string) =>
  observed.edge?.servers.find((server) => server.name === name);

/** In its pool, at the address where it listens now. */
export function isJoined(observed: AppObserved, instance: Instance, slot: Slot): boolean {
  const server = findServer(observed, instance.name);
  return (
    server?.slot === slot &&
    server.state !== "draining" &&
    server.address.host === instance.address?.host &&
    server.address.port === instance.address.port
  );
}

/** Fit for traffic (a service) or settled (a worker). */
export function isReady(wanted: WantedInstance, observed: AppObserved): boolean {
  const instance = findInstance(observed, wanted.name);
  if (instance?.state !== "running" || instance.stoppingSince !== undefined) return false;
  if (wanted.component.role === "worker") {
    const manifest = manifestOf(observed, wanted.placement.set.release);
    const settleMs = manifest?.workers[wanted.component.name]?.settle ?? 0;
    return observed.now - instance.startedAt >= settleMs;
  }
  return isJoined(observed, instance, wanted.placement.slot)
    ? isServing(observed, wanted.name)
    : observed.probes.get(wanted.name)?.ok === true;
}

/** In its pool, and healthy as the edge sees it. */
export const isServing = (observed: AppObserved, name: string): boolean =>
  findServer(observed, name)?.state === "up";

export const releaseTaskName = (app: App, set: InstanceSet, generation: number): string =>
  instanceName(app.name, RELEASE_TASK, set, `g${generation}`);

export const rehearsalTaskName = (app: App, set: InstanceSet, generation: number): string =>
  instanceName(app.name, REHEARSAL_TASK, set, `g${generation}`);

/** The routes and slots that put the placement in charge. */
export function trafficFor(placement: Placement, manifest: Manifest): EdgeTraffic {
  const services = Object.keys(manifest.services).sort();
  return {
    slots: Object.fromEntries(services.map((service) => [service, placement.slot])),
    releases: Object.fromEntries(services.map((service) => [service, placement.set.release])),
    routes: services.flatMap((service): EdgeRoute[] =>
      (manifest.services[service]?.routes ?? []).map((route) => ({ ...route, service })),
    ),
  };
}

/** What the edge must know of before any instance of these placements can join. */
export function declarationFor(
  placements: readonly Placement[],
  observed: AppObserved,
): EdgeDeclaration {
  const services: Record<string, Record<Slot, PoolPolicy>> = {};
  const hosts = new Set<string>();
  const plainHosts = new Set<string>();
  for (const { set, slot } of placements) {
    const manifest = manifestOf(observed, set.release);
    const { testers, preview } = policyOf(observed, set.release);
    const { addresses } = testers;
    for (const [service, spec] of Object.entries(manifest?.services ?? {})) {
      if (!manifest) continue;
      const policy = {
        health: healthOf(manifest, service),
        // What a release of an earlier build does not say is as by default.
        limits: { ...defaultLimits, ...spec.limits },
        ...(spec.affinity && { affinity: true as const }),
        ...((spec.compression === "all" || spec.compression === "none") && {
          compression: spec.compression,
        }),
        ...(spec.protocol === "h2c" && { protocol: spec.protocol }),
        ...(manifest.usage && { usage: true as const }),
        ...(addresses.length > 0 && { testers: addresses }),
      };
      const known = services[service];
      services[service] = known ? { ...known, [slot]: policy } : { a: policy, b: policy };
      for (const { host } of spec.routes) {
        hosts.add(host);
        if (spec.https === "optional") plainHosts.add(host);
        const shown = preview === undefined ? undefined : previewHost(host);
        if (shown !== undefined) hosts.add(shown);
      }
    }
  }
  return {
    services,
    hosts: [...hosts].sort(),
    ...(plainHosts.size > 0 && { plainHosts: [...plainHosts].sort() }),
  };
}

/** Where a candidate is shown alone; a wildcard has no such place. */
export const previewHost = (host: string): string | undefined =>
  host.startsWith("*.") ? undefined : `preview.${host}`;

export function isKept(instance: Instance, wanted: readonly WantedInstance[]): boolean {
  return wanted.some(
    ({ name, placement }) => name === instance.name && isSameSet(placement.set, instance.labels),
  );
}
