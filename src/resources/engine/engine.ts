// An engine is a program that Holdfast runs for the apps: the edge of the installation, the database
// and the cache of an environment, the programs that watch all of them. Several kinds, one life: create its data once, keep it running.

import { z } from "zod";
import type { WithPass } from "../../kernel/controller.ts";
import { defineKind, type Kind, type Scope, type SpecOf, type Wake } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";

const engineSpec = z.strictObject({
  engine: z.enum([
    "haproxy",
    "postgresql",
    "redis",
    "prometheus",
    "alertmanager",
    "node-exporter",
    "postgres-exporter",
    "redis-exporter",
  ]),
});

export type EngineSpec = SpecOf<typeof engineSpec>;

const engineKind = (
  name: string,
  scope: Scope,
  summary: string,
  wakes: readonly Wake[] = [],
): Kind<EngineSpec, EngineStatus> => defineKind({ name, summary, scope, spec: engineSpec, wakes });

/** Apps wait for these. */
const WAKES_APPS: readonly Wake[] = [{ kind: "app", on: "status" }];
/** What measures a store is found by its address. */
const WAKES_METRICS: readonly Wake[] = [{ kind: "metrics", on: "status" }];

export const DATABASE = engineKind(
  "database",
  "environment",
  "The PostgreSQL of an environment.",
  WAKES_APPS,
);
export const CACHE = engineKind("cache", "environment", "The Redis of an environment.", WAKES_APPS);
export const EDGE = engineKind("edge", "installation", "The edge: HAProxy.", WAKES_APPS);
export const METRICS = engineKind(
  "metrics",
  "installation",
  "Metrics and alert rules: Prometheus.",
);
export const ALERTING = engineKind("alerting", "installation", "Alert routing: Alertmanager.");
export const HOST_EXPORTER = engineKind("host-exporter", "installation", "Host metrics exporter.");
/** Named after the environment, like the store that it measures. */
export const DATABASE_EXPORTER = engineKind(
  "database-exporter",
  "environment",
  "PostgreSQL metrics exporter of an environment.",
  WAKES_METRICS,
);
export const CACHE_EXPORTER = engineKind(
  "cache-exporter",
  "environment",
  "Redis metrics exporter of an environment.",
  WAKES_METRICS,
);
export const MONITORING = [
  METRICS,
  ALERTING,
  HOST_EXPORTER,
  DATABASE_EXPORTER,
  CACHE_EXPORTER,
] as const;
export const MONITORING_KINDS: readonly string[] = MONITORING.map(({ name }) => name);

/** What a manifest's store is as an engine. */
export const STORE_KINDS = { postgres: DATABASE, redis: CACHE } as const;

/** The edge belongs to the installation; databases and caches are named after their environment. */
export const EDGE_NAME = "edge";

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
