// What an app needs from the world, in the app's own words. Every method is idempotent: a repeat
// after a crash, a timeout or a lost reply must be harmless. Every implementation passes the suite
// in test/conformance, the in-memory fakes included.

import type { Clock } from "../../kernel/clock.ts";
import type { LeaseStore } from "../../kernel/lease.ts";
import type { Redacted } from "../../kernel/redacted.ts";
import type { ResourceStore } from "../../kernel/resource-store.ts";
import type { ArmCounts, ComparisonQuestion, ResourceUse } from "../../kernel/signal.ts";
import type { Artifact } from "../release/release.ts";
import type { Slot } from "./app.ts";
import type { Tally } from "./judgement/sequential-test.ts";
import type { Health, Limits, Manifest, Resources, Route } from "./manifest.ts";
import type { AppMetric } from "./rollout-policy.ts";

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** What an instance is, kept by the driver with the instance and given back by `list`. */
export interface InstanceLabels {
  readonly component: string;
  readonly role: "service" | "worker" | "task";
  readonly release: number;
  readonly restarts: number;
  readonly index: string;
}

export interface InstanceSpec {
  /** Deterministic and unique in this installation. */
  readonly name: string;
  /** uid of the resource it belongs to; what carries another owner is never touched. */
  readonly owner: string;
  readonly appName: string;
  readonly labels: InstanceLabels;
  readonly artifact: Artifact;
  /** Empty: what the image starts by itself. */
  readonly command: string;
  readonly env: Readonly<Record<string, string | Redacted>>;
  /** Services listen: on this port, or (0) on one that the driver chooses and says in PORT. */
  readonly port?: number;
  readonly resources: Resources;
  /** It is fed (`feed`); otherwise its standard input is empty. */
  readonly takesInput?: boolean;
}

export interface InstanceExit {
  readonly at: number;
  /** Exit status, or undefined where a signal ended it or nobody saw the end. */
  readonly code: number | undefined;
  readonly signal: string | undefined;
  /** In words, where more is known: `out of memory (limit 256 MB)`. */
  readonly detail?: string;
}

export interface Instance {
  readonly name: string;
  readonly owner: string;
  readonly labels: InstanceLabels;
  readonly state: "running" | "exited";
  readonly address: Address | undefined;
  /** Of this incarnation. */
  readonly startedAt: number;
  /** SIGTERM was sent then. */
  readonly stoppingSince: number | undefined;
  readonly exit: InstanceExit | undefined;
  /** Ends of earlier incarnations and of this one, oldest first, bounded. */
  readonly exits: readonly InstanceExit[];
}

export interface ComputeDriver {
  /** Address at which instances reach what listens on this machine's loopback, by way of the edge. */
  localhost(environment: string): Promise<string>;
  list(owner: string): Promise<readonly Instance[]>;
  /**
   * Starts it, or again where it has exited; one that runs is left alone, and so is a task that has
   * ended: a request that arrives late must not run it twice.
   */
  start(spec: InstanceSpec, signal: AbortSignal): Promise<void>;
  /** SIGTERM; harmless where it has exited. */
  terminate(owner: string, name: string): Promise<void>;
  /** SIGKILL, with everything it started; harmless where it has exited. */
  kill(owner: string, name: string): Promise<void>;
  /** Forgets one that has exited; its logs stay. */
  remove(owner: string, name: string): Promise<void>;
  /** The last lines of its output, oldest first. */
  tail(owner: string, name: string, maxLines: number): Promise<readonly string[]>;
  /** Writes to the standard input of one that takes it, and ends that; returns early where it has ended. */
  feed(owner: string, name: string, input: AsyncIterable<Uint8Array>): Promise<void>;
  /** What it uses now, with everything it started; undefined where it does not run. */
  usage(owner: string, name: string): Promise<ResourceUse | undefined>;
}

export interface ProbeResult {
  readonly ok: boolean;
  /** The probe and its answer in words: `GET /healthz → 301 to https://… `. */
  readonly detail: string;
}

export interface HealthProbe {
  /** `protocol`: what the instance speaks where it is not HTTP/1.1. */
  probe(
    address: Address,
    health: Health & Pick<PoolPolicy, "protocol">,
    signal: AbortSignal,
  ): Promise<ProbeResult>;
}

export interface SmokeQuestion {
  readonly host: string;
  readonly path: string;
  readonly key: string;
  /** `200` or `200-299`. */
  readonly status: string;
  readonly contains?: string | undefined;
}

export interface SmokeProbe {
  /** Asks the candidate as a user would. */
  ask(question: SmokeQuestion, signal: AbortSignal): Promise<ProbeResult>;
}

/** What an app's own figure is asked of. */
export interface MetricScope {
  readonly environment: string;
  readonly app: string;
  readonly release: number;
  /** ms since the epoch */
  readonly since: number;
  readonly until: number;
}

export interface MetricValue {
  readonly value: number | null;
  /** Where it is told as bad of total, since the last look. */
  readonly tally?: Tally;
  readonly problem?: string;
  /** The query itself is at fault, not what it found. */
  readonly isWrong?: boolean;
}

/** What is known of releases by their traffic. */
export interface RolloutTelemetry {
  /** Undefined where nobody can say. */
  compare(question: ComparisonQuestion): Promise<readonly ArmCounts[] | undefined>;
  read(metric: AppMetric, scope: MetricScope): Promise<MetricValue>;
}

/** The static part of a pool: changing it may cost the edge a (hitless) reload. */
export interface PoolPolicy {
  readonly health: Health;
  readonly limits: Limits;
  /** Its pages can report what their users see. */
  readonly usage?: true;
  /** A client stays with the instance that its first request went to. */
  readonly affinity?: true;
  /** What its instances speak, where it is not HTTP/1.1. */
  readonly protocol?: "h2c";
  /** What of its answers is compressed, where it is not just documents. */
  readonly compression?: "all" | "none";
  /** Networks whose requests get a candidate as soon as there is one. */
  readonly testers?: readonly string[];
}

export interface EdgeDeclaration {
  /** Service → slot → policy. */
  readonly services: Readonly<Record<string, Readonly<Record<Slot, PoolPolicy>>>>;
  /** Every host that needs a certificate. */
  readonly hosts: readonly string[];
  /** Those of them that answer over plain HTTP too, instead of leading to HTTPS. */
  readonly plainHosts?: readonly string[];
}

/** The part that moves at run time, all of it at once. */
export interface EdgeTraffic {
  /** Service → the slot that gets all requests, but for the candidate's. */
  readonly slots: Readonly<Record<string, Slot>>;
  /** Service → the release in that slot: what a request is put down to where no instance got it. */
  readonly releases: Readonly<Record<string, number>>;
  readonly routes: readonly EdgeRoute[];
  readonly candidate?: CandidateTraffic;
}

/** What a release that is not yet in charge gets of each service that is in both. */
export interface CandidateTraffic {
  readonly slot: Slot;
  readonly services: readonly string[];
  readonly release: number;
  /** Of 1,000 requests. */
  readonly perMille: number;
  /** A request with this in its candidate header goes there whatever the share. */
  readonly key: string;
  /** Tells the cookies of one rollout from those of another. */
  readonly rollout: number;
  /** A client stays where its first request went. */
  readonly isSticky: boolean;
  /** Hosts and paths that lead there alone. */
  readonly preview: readonly EdgeRoute[];
}

export interface EdgeRoute extends Route {
  readonly service: string;
}

export interface EdgeServer {
  readonly service: string;
  readonly slot: Slot;
  readonly name: string;
  readonly address: Address;
  readonly state: "up" | "down" | "draining";
  /** Requests under way or queued. */
  readonly requests: number;
}

export interface EdgeView {
  readonly declaration: EdgeDeclaration | undefined;
  /** False where a declaration, or a certificate, still has to be loaded: declaring again does it. */
  readonly isLoaded: boolean;
  /** Something a person should know about, such as a certificate that can't be used. */
  readonly problem?: string;
  readonly traffic: EdgeTraffic | undefined;
  readonly servers: readonly EdgeServer[];
}

/** A request that an instance has not begun to answer. */
export interface UnansweredRequest {
  readonly service: string;
  /** Name of the instance. */
  readonly server: string;
  /** For how long, in whole seconds. */
  readonly ageMs: number;
}

export interface EdgeDriver {
  /** What the edge does for this app; undefined while the edge does not run. */
  observe(appName: string): Promise<EdgeView | undefined>;
  declare(appName: string, declaration: EdgeDeclaration): Promise<void>;
  /** Puts the server into the pool, ready for requests. */
  join(appName: string, server: Omit<EdgeServer, "state" | "requests">): Promise<void>;
  /** What instances hold and have not begun to answer; nothing of tunnels and streams of events. */
  unanswered(appName: string): Promise<readonly UnansweredRequest[]>;
  /** No new requests for it; those under way go on. */
  drain(appName: string, server: Pick<EdgeServer, "service" | "slot" | "name">): Promise<void>;
  leave(appName: string, server: Pick<EdgeServer, "service" | "slot" | "name">): Promise<void>;
  /** Moves every service and route of the app in one go. */
  shift(appName: string, traffic: EdgeTraffic): Promise<void>;
  /** Forgets the app. */
  withdraw(appName: string): Promise<void>;
  /** Service → port on loopback where other components of the app reach it, through the edge. */
  internalPorts(appName: string): Readonly<Record<string, number>>;
  /** Makes internal listeners, and these ports of loopback, reachable at another private address. */
  bridge(address: string, ports: readonly number[]): Promise<void>;
}

export type StoresReadiness =
  /** When the one that started last did, in ms; before all time where there is none. */
  | { readonly ready: true; readonly startedAt: number }
  | { readonly ready: false; readonly reason: string; readonly hint: string };

/** The stores of the environment, as one app sees them. */
/** rehearsal: the owner's, in a copy of the database. */
export type StoreRole = "runtime" | "owner" | "rehearsal";

/** A copy of the app's database, in which its release command is rehearsed. */
export type CopyState =
  | { readonly state: "none" }
  | {
      readonly state: "making" | "ready";
      /** Says for which rehearsal it was made. */
      readonly label: string;
    }
  | { readonly state: "failed"; readonly label: string; readonly problem: string };

export interface AppStores {
  readiness(appName: string, manifest: Manifest): Promise<StoresReadiness>;
  /** Makes sure of database, roles and users; returns the variables, ready to use. */
  ensureAccess(
    appName: string,
    manifest: Manifest,
    as: StoreRole,
    host: string,
  ): Promise<Readonly<Record<string, string | Redacted>>>;
  /** Ports on loopback of the stores that the app needs. */
  ports(appName: string, manifest: Manifest): Promise<readonly number[]>;
  /** Begins to make it, in place of one that is there. */
  makeCopy(appName: string, label: string): Promise<void>;
  copyState(appName: string): Promise<CopyState>;
  /** What whatever ran in the copy took from the schema that the app has, in words. */
  takenInCopy(appName: string): Promise<readonly string[]>;
  dropCopy(appName: string): Promise<void>;
  hasData(appName: string): Promise<boolean>;
  dropData(appName: string): Promise<void>;
}

export interface SecretReader {
  /** The value; throws `secret.missing` where that version is not there. */
  read(appName: string, name: string, version: number): Redacted;
}

/** Where instances send OpenTelemetry, and as whom. */
export interface TelemetrySink {
  /** Ports of this machine's loopback. */
  readonly ports: readonly number[];
  /** What its SDK reads; `localhost` is where the instance finds this machine's loopback. */
  variables(instance: string, localhost: string): Readonly<Record<string, string | Redacted>>;
}

/** What the kind of app needs of the world. */
export interface AppDeps {
  readonly clock: Clock;
  readonly store: ResourceStore;
  readonly leases: LeaseStore;
  readonly compute: (technology: ComputeTechnology) => ComputeDriver;
  readonly probe: HealthProbe;
  readonly edge: EdgeDriver;
  readonly stores: AppStores;
  readonly secrets: SecretReader;
  readonly telemetry: TelemetrySink;
  readonly traffic: RolloutTelemetry;
  readonly smoke: SmokeProbe;
  readonly publicUrl: (host: string) => string;
}

export type ComputeTechnology = "process" | "docker";
