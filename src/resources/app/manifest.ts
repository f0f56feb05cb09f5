// What an app says of itself: the schema of holdfast.yaml. It is at once the validator, the
// published JSON Schema and the reference page; nothing else describes these keys.
//
// `ManifestInput` is what a person writes; `Manifest` has every default filled in and is what a
// release keeps for ever.

import { z } from "zod";
import type { SpecOf } from "../../kernel/kind.ts";
import { gives, storedForm } from "../../kernel/stored-form.ts";
import { duration, size } from "./quantity.ts";
import { rolloutSchema } from "./rollout-policy.ts";

export const MAX_INSTANCES = 64;
/** Over the time a worker must stay up: for starting at all on a busy machine. */
const WORKER_START_MS = 30_000;
const NAME = /^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$/;
const NAME_RULE = "must be 1 to 30 characters: lowercase letters, digits, hyphens; a letter first";
const HOST = /^(\*\.)?([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
// What these may hold goes into the edge's configuration and its maps as it is.
const ROUTE_PATH = /^\/[\w\-.~!$&()*+,;=:@%/]*$/;
const PROBE_PATH = /^\/[\w\-.~!$&()*+,;=:@%/?]*$/;
const PATH_MAX = 300;
const HOST_MAX = 253;
const PROBE_HOST = /^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?(:\d{1,5})?$/;
const INNER_PATH = /^(?!\/)(?!.*(^|\/)\.\.(\/|$))[\w\-./]+$/;
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;

export const name = z.string().regex(NAME, NAME_RULE);
const command = z
  .string()
  .trim()
  .min(1, "must not be empty")
  .describe("The command line that starts it, run by a shell in the app's folder.");
const variables = z
  .record(
    z.string().regex(VARIABLE, "must be a variable name: letters, digits, underscores"),
    gives(z.string(), z.union([z.string(), z.number(), z.boolean()]).transform(String)),
  )
  .default({});

const health = z
  .strictObject({
    path: z
      .string()
      .regex(PROBE_PATH, "must be a path that starts with /, with what a URL allows")
      .max(PATH_MAX)
      .optional()
      .describe(
        "Path that is asked over HTTP. Without it an instance is ready once it has lived for two seconds and answers / twice in a row with anything below 500; from then on its port must accept connections.",
      ),
    status: z
      .string()
      .regex(/^[1-5]\d\d(-[1-5]\d\d)?$/, "must be a status such as 200 or a range such as 200-299")
      .default("200-299")
      .describe("Status that counts as healthy, or a range. Redirects are not followed."),
    host: z
      .string()
      .toLowerCase()
      .regex(PROBE_HOST, "must be a host name such as shop.example.com")
      .optional()
      .describe("Host header of the probe. Default: the first route's host."),
    interval: duration("Time between two probes once it serves.", "100ms").prefault("1s"),
    timeout: duration("Time one probe may take.", "100ms").prefault("5s"),
    grace: duration(
      "Time a new instance has to become healthy before the deploy fails.",
      "1s",
    ).prefault("1m"),
  })
  .describe("How an instance shows that it is ready for traffic; probed from outside.");

const resources = z
  .strictObject({
    cpu: z.number().positive().max(256).optional().describe("CPU limit in cores, such as 0.5."),
    memory: size("Memory limit; beyond it the instance is ended and restarted.").prefault("1GB"),
    disk: size(
      "Room for files in /tmp, which are gone when the instance ends. It counts as memory.",
    ).prefault("256MB"),
    processes: z.number().int().positive().max(32_768).default(512).describe("Limit of processes."),
    readOnlyRoot: z
      .boolean()
      .default(false)
      .describe("Containers: nothing but /tmp can be written. Processes never write elsewhere."),
  })
  .describe("Limits of one instance. Enforced where Holdfast runs as root.");

const route = z.strictObject({
  host: z
    .string()
    .toLowerCase()
    .regex(HOST, "must be a host name such as shop.example.com or *.example.com")
    .max(HOST_MAX)
    .describe("Host name; `*.` as the first label matches any one label."),
  path: z
    .string()
    .regex(ROUTE_PATH, "must be a path that starts with /, with what a URL allows")
    .refine((path) => !path.includes("//"), "has an empty part: //")
    .max(PATH_MAX)
    .default("/")
    .describe("Path prefix, matched by whole segments; the longest match wins."),
});

const limits = z
  .strictObject({
    body: size("Largest request body.").prefault("32MB"),
    requestsPerSecond: z
      .number()
      .positive()
      .max(1_000_000)
      .default(500)
      .describe("Requests per second one client address may send, over ten seconds; then 429."),
    connections: z
      .number()
      .int()
      .positive()
      .max(100_000)
      .default(200)
      .describe(
        "Requests of one client address that may be under way at once, tunnels included; then 429. Of connections the edge takes 200 from one address.",
      ),
    perInstance: z
      .number()
      .int()
      .positive()
      .max(100_000)
      .default(256)
      .describe("Requests one instance works on at once; more wait in a bounded queue."),
    tunnels: z
      .number()
      .int()
      .positive()
      .max(100_000)
      .default(1_000)
      .describe(
        "WebSockets and streams of events (Accept: text/event-stream) one instance holds, and bodies of no said length, beside its requests.",
      ),
    timeout: duration(
      "Time the app may take to begin its answer, then 504. Once begun it may be quiet for an hour (with HAProxy before 3.0 only a stream of events, Accept: text/event-stream; others for this time).",
      "100ms",
    ).prefault("1m"),
    retryIdempotencyKey: z
      .boolean()
      .default(false)
      .describe(
        "The app makes requests with an Idempotency-Key header safe to repeat: the edge may then retry them on another instance too.",
      ),
  })
  .describe("What the edge lets through to this service.");

const percent = z.number().gt(0).lt(100);
const objectives = z
  .strictObject({
    availability: percent
      .default(99.9)
      .describe("Percent of requests that are answered without a 5xx, over 30 days."),
    latency: z
      .strictObject({
        under: duration("An answer is in time within this.", "5ms").prefault("1s"),
        target: percent.default(99).describe("Percent of requests that are answered in time."),
      })
      .prefault({}),
  })
  .describe(
    "What users may expect. Alerts watch how fast the rest, the error budget, is spent. Default: these, for every service that has a route.",
  );

const metrics = z
  .strictObject({
    path: z
      .string()
      .regex(PROBE_PATH, "must be a path that starts with /, with what a URL allows")
      .max(PATH_MAX)
      .default("/metrics")
      .describe("Where it answers in the text format of Prometheus."),
  })
  .describe("Metrics that are read from each instance, at its own port.");

const scale = z.number().int().min(0).max(MAX_INSTANCES);
const stopGrace = duration("Time between SIGTERM and SIGKILL.").prefault("10s");

const service = z
  .strictObject({
    command: command.optional(),
    port: z
      .number()
      .int()
      .min(1)
      .max(65_535)
      .optional()
      .describe("Port it listens on where it can't read $PORT. Default: $PORT, chosen for it."),
    health: health.optional(),
    instances: scale.default(1).describe("Instances that run at once."),
    resources: resources.optional(),
    routes: z.array(route).max(64).default([]).describe("Hosts and paths that lead to it."),
    limits: limits.optional(),
    objectives: objectives.optional(),
    metrics: metrics.optional(),
    affinity: z
      .boolean()
      .default(false)
      .describe(
        "A client stays with one instance, by a cookie: for what keeps sessions in memory, such as socket.io with polling.",
      ),
    protocol: z
      .enum(["http", "h2c"])
      .default("http")
      .describe("What its instances speak: HTTP/1.1, or HTTP/2 without TLS, as gRPC servers do."),
    compression: z
      .enum(["documents", "all", "none"])
      .default("documents")
      .describe(
        "What is compressed where the client can read it: pages, styles and scripts; `all`, plain text and JSON too, where the end of each line that is streamed waits for the next; or nothing.",
      ),
    https: z
      .enum(["redirect", "optional"])
      .default("redirect")
      .describe("Plain HTTP: leads to HTTPS, or is answered too."),
    env: variables.describe("Variables for this service only."),
    drain: duration("Time requests under way get to finish before SIGTERM.").prefault("30s"),
    stopGrace,
  })
  .describe("A process that answers requests.");

const worker = z
  .strictObject({
    command,
    instances: scale.default(1).describe("Instances that run at once."),
    resources: resources.optional(),
    env: variables.describe("Variables for this worker only."),
    backlog: z
      .strictObject({
        metric: z
          .string()
          .regex(/^[a-zA-Z_:][a-zA-Z0-9_:]*$/, "must be the name of a metric, as Prometheus has it")
          .describe("A gauge that says how much waits, such as shop_outbox_waiting."),
        max: z.number().int().positive().describe("More than this for two minutes is an alert."),
      })
      .optional()
      .describe("What the worker may be behind with."),
    settle: duration("Time a new instance must stay up to count as started.").prefault("1s"),
    stopGrace,
  })
  .describe("A process without a port, such as a queue consumer.");

const job = z
  .strictObject({
    command,
    schedule: z
      .string()
      .describe("Five-field cron expression, or @hourly, @daily, @weekly, @monthly."),
    timezone: z.string().default("UTC").describe("IANA time zone of the schedule."),
    timeout: duration("Time a run may take.", "1s").prefault("1h"),
    resources: resources.optional(),
    env: variables.describe("Variables for this job only."),
  })
  .describe(
    "A command that runs by the clock; a run that is due while the last one still runs is skipped.",
  );

const release = z
  .strictObject({
    command,
    timeout: duration("Time it may take.", "1s").prefault("10m"),
    rehearse: z
      .boolean()
      .default(true)
      .describe(
        "Where the environment refuses migrations that break the running release, and the source changed, it runs on a copy of the schema first, with HOLDFAST_REHEARSAL=1; `false` leaves that out.",
      ),
  })
  .describe(
    "Runs once in the new release before it gets traffic, for example migrations. Its failure stops the deploy.",
  );

const buildResources = z
  .strictObject({
    cpu: z.number().positive().max(256).optional().describe("CPU limit in cores, such as 0.5."),
    memory: size("Memory limit of the build.").prefault("2GB"),
    disk: size("Room for everything that the build writes.").prefault("8GB"),
    processes: z
      .number()
      .int()
      .positive()
      .max(32_768)
      .default(1_024)
      .describe("Limit of processes."),
  })
  .describe("Limits of the build. Enforced where Holdfast runs as root.");

const build = z
  .strictObject({
    command: z.string().min(1).optional().describe("Runs after dependencies are installed."),
    dockerfile: z
      .string()
      .regex(INNER_PATH, "must be a path inside the app's folder")
      .optional()
      .describe("Path of the Dockerfile. Default: Dockerfile."),
    timeout: duration("Time the build may take.", "1s", "4h").prefault("30m"),
    resources: buildResources.optional(),
  })
  .describe("How the artifact is made.");

const stores = z
  .strictObject({
    postgres: z
      .strictObject({
        role: z
          .enum(["runtime", "owner"])
          .optional()
          .describe(
            "Role of services and workers: `runtime` reads and writes rows, `owner` also changes the schema. Default: runtime where a release command makes the schema, otherwise owner.",
          ),
        connections: z
          .number()
          .int()
          .min(1)
          .max(150)
          .default(40)
          .describe("Connections that the app may hold at once. The cluster has 200 for all."),
      })
      .nullable()
      .optional()
      .describe("A database of its own in the environment's PostgreSQL; DATABASE_URL and PG*."),
    redis: z
      .strictObject({})
      .nullable()
      .optional()
      .describe(
        "A user and a key prefix of its own in the environment's Redis; REDIS_URL, REDIS_KEY_PREFIX.",
      ),
  })
  .describe("The stores the app needs.");

const overlay = z
  .strictObject({
    config: variables.describe("Plain settings there, over those of all environments."),
    instances: z
      .record(name, scale)
      .default({})
      .describe("Service or worker → instances that run at once there."),
    hosts: z
      .record(z.string(), route.shape.host)
      .default({})
      .describe("Host of a route → the host there. Default: what the environment makes of it."),
    rollout: rolloutSchema.optional(),
  })
  .describe("What is different in one environment.");

export const manifestSchema = z
  .strictObject({
    name: name.describe("Name of the app, unique in its environment."),
    services: z
      .record(name, service)
      .default({})
      .describe("Processes that answer requests, by name."),
    workers: z.record(name, worker).default({}).describe("Processes without a port, by name."),
    jobs: z.record(name, job).default({}).describe("Commands that run by the clock, by name."),
    release: release.optional(),
    stores: stores.default({}),
    config: variables.describe("Plain settings; `holdfast config set` overrides them."),
    secrets: z
      .array(z.string().regex(VARIABLE, "must be a variable name"))
      .default([])
      .describe("Secrets that must be set (holdfast secret set) before a deploy."),
    usage: z
      .boolean()
      .default(false)
      .describe(
        "The edge serves /_holdfast/usage.js and takes what it reports: page views, web vitals, errors and feedback, without cookies.",
      ),
    build: build.optional(),
    needs: z
      .array(name)
      .max(50)
      .default([])
      .describe("Apps that a train releases before this one."),
    rollout: rolloutSchema.prefault({}),
    environments: z
      .record(name, overlay)
      .default({})
      .describe("What is different in an environment, by its name."),
    compute: z
      .enum(["process", "docker"])
      .optional()
      .describe(
        "Where instances run. Default: docker for a Dockerfile, otherwise the environment's.",
      ),
    keepWarm: duration("Time the last release stays warm for an instant rollback.").prefault("10m"),
  })
  .describe("holdfast.yaml: what an app is and what it needs.");

/** As a release keeps it. */
export const storedManifest = storedForm(manifestSchema);

export type ManifestInput = z.input<typeof manifestSchema>;
export type Manifest = SpecOf<typeof manifestSchema>;
export type Health = SpecOf<typeof health>;
export type Limits = SpecOf<typeof limits>;
export type Resources = SpecOf<typeof resources>;
export type BuildResources = SpecOf<typeof buildResources>;
export type Route = SpecOf<typeof route>;

export const defaultLimits: Limits = limits.parse({});
export const defaultResources: Resources = resources.parse({});
/** As the schema has it, for manifests without `build`. */
export const DEFAULT_BUILD_TIMEOUT_MS = 30 * 60_000;
export const defaultBuildResources: BuildResources = buildResources.parse({});
export const defaultHealth: Health = health.parse({});
export const defaultObjectives = objectives.parse({});

/** A service or a worker, seen alike: something that has instances. */
export interface Component {
  readonly name: string;
  readonly role: "service" | "worker";
  readonly command: string;
  readonly instances: number;
  readonly stopGraceMs: number;
  readonly drainMs: number;
}

export function componentsOf(manifest: Manifest): readonly Component[] {
  const services = Object.entries(manifest.services).map(([serviceName, service]) => ({
    name: serviceName,
    role: "service" as const,
    command: service.command ?? "",
    instances: service.instances,
    stopGraceMs: service.stopGrace,
    drainMs: service.drain,
  }));
  const workers = Object.entries(manifest.workers).map(([workerName, worker]) => ({
    name: workerName,
    role: "worker" as const,
    command: worker.command,
    instances: worker.instances,
    stopGraceMs: worker.stopGrace,
    drainMs: 0,
  }));
  return [...services, ...workers];
}

/** How a new instance of the service is judged, with the host header that a probe sends. */
export function healthOf(manifest: Manifest, serviceName: string): Health {
  const service = manifest.services[serviceName];
  const own = service?.health ?? defaultHealth;
  const host = own.host ?? service?.routes[0]?.host;
  return host === undefined ? own : { ...own, host: host.replace(/^\*/, "www") };
}

const LIFE_MS = 2_000;

/** Time an instance has to live before an answer counts, where no path says that it is healthy. */
export const lifeMsOf = ({ path, grace }: Health): number =>
  path === undefined ? Math.min(LIFE_MS, grace / 2) : 0;

/** Time a new instance of the component has to become ready. */
export function graceMsOf(manifest: Manifest, component: string): number {
  const worker = manifest.workers[component];
  return worker ? worker.settle + WORKER_START_MS : healthOf(manifest, component).grace;
}

/** The stores it needs: `postgres:` with nothing behind it is a need, too. */
export const needsOf = ({ stores }: Pick<Manifest, "stores">): readonly ("postgres" | "redis")[] =>
  (["postgres", "redis"] as const).filter((store) => stores[store] !== undefined);
