// What the edge is to do, kept on disk: with it HAProxy starts again after any loss, also while no
// control plane is there.

import type { Slot } from "../../resources/app/app.ts";
import type { Address, EdgeDeclaration, EdgeTraffic } from "../../resources/app/app-driver.ts";

export interface PooledServer {
  readonly service: string;
  readonly slot: Slot;
  readonly name: string;
  readonly address: Address;
}

export interface EdgeApp {
  readonly declaration: EdgeDeclaration;
  readonly traffic: EdgeTraffic | undefined;
  /** Service → loopback port where other components of the app reach it. */
  readonly internalPorts: Readonly<Record<string, number>>;
  readonly servers: readonly PooledServer[];
}

export interface EdgeState {
  /** App (`production/storefront`) → what the edge does for it. */
  readonly apps: Readonly<Record<string, EdgeApp>>;
  /** Private address → ports of loopback that are reachable there too (containers need that). */
  readonly bridges: Readonly<Record<string, readonly number[]>>;
}

export const EMPTY_EDGE_STATE: EdgeState = { apps: {}, bridges: {} };

/** `production.storefront.web`: how maps, backends and records name a service. */
export const serviceId = (appName: string, service: string): string =>
  `${appName.replace("/", ".")}.${service}`;

export const poolId = (appName: string, service: string, slot: Slot): string =>
  `${serviceId(appName, service)}.${slot}`;
