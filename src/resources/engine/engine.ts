// An engine is a program that Holdfast runs for the apps: the edge of the installation, the database
// and the cache of an environment, the programs that watch all of them. Several kinds, one life: create its data once, keep it running.

import type { WithPass } from "../../kernel/controller.ts";
import { defineKind, type Kind, type Scope } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";

const engineKind = (name: string, scope: Scope): Kind<EngineSpec, EngineStatus> =>
  defineKind({ name, scope });

export const DATABASE = engineKind("database", "environment");
export const CACHE = engineKind("cache", "environment");
export const EDGE = engineKind("edge", "installation");
/** What watches: Prometheus, Alertmanager, and what counts the machine. */
export const METRICS = engineKind("metrics", "installation");
export const ALERTING = engineKind("alerting", "installation");
export const HOST_EXPORTER = engineKind("host-exporter", "installation");
/** What counts an environment's stores; named after the environment like those. */
export const DATABASE_EXPORTER = engineKind("database-exporter", "environment");
export const CACHE_EXPORTER = engineKind("cache-exporter", "environment");
export const MONITORING = [
  METRICS,
  ALERTING,
  HOST_EXPORTER,
  DATABASE_EXPORTER,
  CACHE_EXPORTER,
] as const;

/** What a manifest's store is as an engine. */
export const STORE_KINDS = { postgres: DATABASE, redis: CACHE } as const;

/** The edge belongs to the installation; databases and caches are named after their environment. */
export const EDGE_NAME = "edge";

export interface EngineSpec {
  readonly engine:
    | "haproxy"
    | "postgresql"
    | "redis"
    | "prometheus"
    | "alertmanager"
    | "node-exporter"
    | "postgres-exporter"
    | "redis-exporter";
}

/** The engines of an environment: its stores, and what counts them. */
export const ENVIRONMENT_ENGINES: readonly (readonly [
  Kind<EngineSpec, EngineStatus>,
  EngineSpec["engine"],
])[] = [
  [DATABASE, "postgresql"],
  [CACHE, "redis"],
  [DATABASE_EXPORTER, "postgres-exporter"],
  [CACHE_EXPORTER, "redis-exporter"],
];

export interface EngineStatusFields {
  /** Written before the first instance of data is made: never lay a blank one over lost data. */
  readonly initialized: boolean;
  readonly state:
    | "not-installed"
    | "creating"
    | "starting"
    | "ready"
    | "silent"
    | "stopped"
    | "data-missing";
  readonly detail?: string;
  readonly note?: string;
  readonly version?: string;
  readonly address?: string;
  readonly startedAt?: number;
}

export type EngineStatus = WithPass<EngineStatusFields>;
export type Engine = Resource<EngineSpec, EngineStatus>;
