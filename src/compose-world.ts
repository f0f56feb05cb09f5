// The world as drivers: what the control plane drives, put together from the installation's folders
// and ports. Part of the composition root.

import { randomBytes } from "node:crypto";
import { dirname, join } from "node:path";
import type { Config } from "./config.ts";
import { DirectoryArtifactBuilder } from "./drivers/build/artifact-builder.ts";
import { registryPorts } from "./drivers/build/build-network.ts";
import { SourceStore } from "./drivers/build/source-store.ts";
import { DockerComputeDriver } from "./drivers/docker/docker-compute-driver.ts";
import { DockerEngine } from "./drivers/docker/docker-engine.ts";
import { DockerImageBuilder } from "./drivers/docker/docker-image-builder.ts";
import { EnvironmentStores } from "./drivers/environment-stores.ts";
import { ensureKeyFile } from "./drivers/files.ts";
import { GitServer } from "./drivers/git/git-server.ts";
import { RemoteRepositories } from "./drivers/git/remote-repositories.ts";
import { HaproxyEdgeDriver } from "./drivers/haproxy/haproxy-edge-driver.ts";
import { LocalCa } from "./drivers/local-ca/local-ca.ts";
import { PostgresAccess } from "./drivers/postgres/postgres-access.ts";
import { PostgresEngineDriver } from "./drivers/postgres/postgres-engine-driver.ts";
import { ensurePostgresMonitor } from "./drivers/postgres/postgres-monitor.ts";
import { EdgeSmokeProbe } from "./drivers/probe/edge-smoke-probe.ts";
import { AppUsers, isBuilder } from "./drivers/process/app-user.ts";
import type { Reach } from "./drivers/process/firewall.ts";
import { ProcessComputeDriver } from "./drivers/process/process-compute-driver.ts";
import { RedisAccess } from "./drivers/redis/redis-access.ts";
import { RedisEngineDriver } from "./drivers/redis/redis-engine-driver.ts";
import { ensureRedisMonitor, REDIS_MONITOR } from "./drivers/redis/redis-monitor.ts";
import { edgeLayout } from "./host/edge-layout.ts";
import type { Home } from "./host/home.ts";
import { wasStoppedAt } from "./host/last-stop.ts";
import {
  enginePort,
  type InstallationPorts,
  monitoringPorts,
  portToStart,
  storePorts,
} from "./host/ports.ts";
import type { NodeRuntime } from "./host/runtime.ts";
import { systemClock } from "./kernel/clock.ts";
import { stuck } from "./kernel/error.ts";
import { Redacted } from "./kernel/redacted.ts";
import type { TelemetrySink } from "./resources/app/app-driver.ts";
import { usesDockerfile } from "./resources/app/infer.ts";
import type { EngineDriver } from "./resources/engine/engine-driver.ts";
import { classOf, ENVIRONMENT, guessClass } from "./resources/environment/environment.ts";
import { effectiveRules } from "./resources/environment/environment-rules.ts";
import { POLICY } from "./resources/policy/policy.ts";
import type { BuildRequest } from "./resources/release/release-driver.ts";
import { ResourceVault } from "./store/resource-vault.ts";
import type { SecretVault } from "./store/secret-vault.ts";
import type { SqliteStore } from "./store/sqlite-store.ts";
import { senderToken } from "./telemetry/otlp/sender.ts";

const UNPACK_SOURCE = join(import.meta.dirname, "bin", "unpack-source.ts");
/** What git runs when something is pushed. */
const GIT_RECEIVE = join(import.meta.dirname, "bin", "git-receive.ts");

export interface WorldOptions {
  readonly config: Config;
  readonly home: Home;
  readonly ports: InstallationPorts;
  readonly runtime: NodeRuntime;
}

export interface ControlPlaneOptions extends WorldOptions {
  readonly version: string;
  readonly log: (
    level: "info" | "warn" | "error",
    message: string,
    fields?: Record<string, unknown>,
  ) => void;
}

export type World = ReturnType<typeof composeWorld>;

export function composeWorld(options: WorldOptions, store: SqliteStore, vault: SecretVault) {
  const edge = composeEdge(options);
  return {
    ...composeCompute(options, edge, store),
    ...composeStores(options, store, vault),
    edge,
    smokeProbe: new EdgeSmokeProbe({
      host: options.config.bind ?? "127.0.0.1",
      port: options.ports.https,
    }),
    secrets: composeSecrets(vault),
    sealed: new ResourceVault(vault),
    repositories: new RemoteRepositories(join(options.home.gitDir, "remote")),
    git: new GitServer({
      dir: join(options.home.gitDir, "hosted"),
      hook: [join(options.runtime.binDir, "node"), GIT_RECEIVE],
      apiSocket: options.home.edgeApiSocket,
    }),
    telemetrySink: composeTelemetrySink(options),
  };
}

function composeCompute(
  { home, ports, runtime }: WorldOptions,
  edge: HaproxyEdgeDriver,
  store: SqliteStore,
) {
  const clock = systemClock;
  const sources = new SourceStore({
    dir: home.sourcesDir,
    unpack: [process.execPath, UNPACK_SOURCE],
    installation: home.root,
  });
  const docker = new DockerEngine();
  const users = new AppUsers(home.appUsers);
  const builder: DirectoryArtifactBuilder = new DirectoryArtifactBuilder({
    dir: home.buildDir,
    sources,
    logDir: home.logSourcesDir,
    nodeDir: dirname(runtime.binDir),
    nodeVersion: runtime.version,
    installation: home.root,
    users,
    keepApart: () => processCompute.keepApart(),
    images: new DockerImageBuilder(docker, home.root),
    isImage: (request) => isImage(request, sources),
  });
  const processCompute: ProcessComputeDriver = new ProcessComputeDriver({
    clock,
    root: home.root,
    dir: home.instancesDir,
    artifactDir: (digest) => builder.artifacts.dirOf(digest),
    findArtifactFault: (digest) => builder.artifacts.findFault(digest),
    logDir: home.logSourcesDir,
    nodeDir: dirname(runtime.binDir),
    users,
    guardedPorts: () => [
      ports.api,
      ...monitoringPorts(home),
      ...storePorts(home),
      ...edge.allInternalPorts(),
    ],
    reachOf: (user) =>
      isBuilder(user)
        ? { doors: registryPorts(process.env), asksMetadata: false }
        : appReach(user, { home, ports }, edge, store),
    wasStoppedAt: (at) => wasStoppedAt(home, at),
  });
  const dockerCompute = new DockerComputeDriver({
    clock,
    engine: docker,
    installation: home.root,
    logDir: home.logSourcesDir,
    wasStoppedAt: (at) => wasStoppedAt(home, at),
  });
  return { sources, builder, processCompute, dockerCompute };
}

function appReach(
  appName: string,
  { home, ports }: Pick<WorldOptions, "home" | "ports">,
  edge: HaproxyEdgeDriver,
  store: SqliteStore,
): Reach {
  const name = appName.split("/")[0] ?? "";
  const environment = store.find(ENVIRONMENT, name);
  const policy = store.find(POLICY, name);
  const rules = effectiveRules(environment ? classOf(environment) : guessClass(name), policy?.spec);
  return {
    doors: [
      ports.http,
      ports.https,
      ports.otlpHttp,
      ports.otlpGrpc,
      ...storePorts(home, name),
      ...Object.values(edge.internalPorts(appName)),
      ...rules.localPorts,
    ],
    asksMetadata: rules.cloudMetadata === "allow",
  };
}

function composeEdge({ config, home, ports }: WorldOptions): HaproxyEdgeDriver {
  const ca = new LocalCa({
    dir: home.caDir,
    givenDir: home.certificatesDir,
    listFile: join(home.edgeDir, "crt-list.txt"),
    // A push whose end is lost on the way would wait for ever: git over HTTP/2 does not see it.
    http1Host: config.apiHost,
    now: systemClock.now,
  });
  return new HaproxyEdgeDriver({
    clock: systemClock,
    layout: edgeLayout(config, home, ports),
    masterSocket: join(home.runDir, "edge-master.sock"),
    logFile: home.logFile("engine.edge"),
    ca,
  });
}

function composeStores({ home }: WorldOptions, store: SqliteStore, vault: SecretVault) {
  const newPassword = (): string => randomBytes(24).toString("base64url");
  const engine = (name: "postgres" | "redis") => ({
    clock: systemClock,
    dirOf: (environment: string) => join(home.environmentDir(environment), name),
    logFileOf: (environment: string) => home.logFile(`engine.${name}.${environment}`),
    portOf: (environment: string) => enginePort(home, name, environment),
    portToStart: (environment: string) => portToStart(home, name, environment),
    adminPassword: (environment: string) =>
      vault.ensure(`engine/${name}/${environment}`, newPassword),
  });
  const postgres = new PostgresEngineDriver(engine("postgres"));
  const redis = new RedisEngineDriver(engine("redis"));
  const postgresAccess = new PostgresAccess({
    engine: postgres,
    portOf: engine("postgres").portOf,
    password: (app, role) => vault.ensure(`store/${app}/postgres/${role}`, newPassword),
  });
  const redisAccess = new RedisAccess({
    engine: redis,
    portOf: engine("redis").portOf,
    password: (app) => vault.ensure(`store/${app}/redis`, newPassword),
  });
  return {
    postgres,
    redis,
    stores: new EnvironmentStores(store, postgresAccess, redisAccess),
    storeMonitors: composeStoreMonitors(home, vault, postgres, redis),
  };
}

// What the exporters of an environment's stores connect with, as their variables.
function composeStoreMonitors(
  home: Home,
  vault: SecretVault,
  postgres: PostgresEngineDriver,
  redis: RedisEngineDriver,
) {
  const newPassword = (): string => randomBytes(24).toString("base64url");
  const password = (store: string, environment: string) =>
    vault.ensure(`engine/${store}-monitor/${environment}`, newPassword);
  const awaits = (what: string, driver: EngineDriver) => async (environment: string) => {
    const { process } = await driver.observe(environment, AbortSignal.timeout(STORE_LOOK_MS));
    return process === "ready" ? undefined : `${what} ${environment}`;
  };
  return {
    postgres: {
      awaits: awaits("database", postgres),
      variables: async (environment: string) => {
        const port = await enginePort(home, "postgres", environment);
        const secret = password("postgres", environment);
        return {
          DATA_SOURCE_NAME: await ensurePostgresMonitor(postgres, environment, port, secret),
        };
      },
    },
    redis: {
      awaits: awaits("cache", redis),
      variables: async (environment: string) => {
        const secret = password("redis", environment);
        await ensureRedisMonitor(redis, environment, secret);
        return {
          REDIS_ADDR: `redis://127.0.0.1:${await enginePort(home, "redis", environment)}`,
          REDIS_USER: REDIS_MONITOR,
          REDIS_PASSWORD: secret.reveal(),
        };
      },
    },
  };
}

function composeSecrets(vault: SecretVault) {
  const nameOf = (app: string, name: string): string => `secret/${app}/${name}`;
  return {
    add: (app: string, name: string, value: Redacted) => vault.add(nameOf(app, name), value),
    removeAll: (app: string) => vault.removeAll(nameOf(app, "")),
    read: (app: string, name: string, version: number) => {
      const value = vault.find(nameOf(app, name), version);
      if (value) return value;
      throw stuck("secret.missing", `version ${version} of the secret ${name} is not there`, {
        hint: `holdfast secret set ${app.split("/")[1]} ${name}`,
      });
    },
  };
}

const STORE_LOOK_MS = 5_000;

function isImage({ manifest, sourceDigest }: BuildRequest, sources: SourceStore): boolean {
  const files = sources.readFiles(sourceDigest, ["Dockerfile"]);
  return usesDockerfile(manifest, { folder: "", files });
}

// Instances find by these variables where to send, in the words that every OpenTelemetry SDK reads.
function composeTelemetrySink({ home, ports }: WorldOptions): TelemetrySink {
  const key = ensureKeyFile(home.telemetryKey);
  return {
    ports: [ports.otlpHttp, ports.otlpGrpc],
    variables: (instance, localhost) => ({
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://${localhost}:${ports.otlpHttp}`,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf",
      OTEL_EXPORTER_OTLP_HEADERS: new Redacted(
        `authorization=Bearer%20${senderToken(instance, key)}`,
      ),
    }),
  };
}
