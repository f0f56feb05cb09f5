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
import { EdgeSmokeProbe } from "./drivers/probe/edge-smoke-probe.ts";
import { AppUsers, isBuilder } from "./drivers/process/app-user.ts";
import { ProcessComputeDriver } from "./drivers/process/process-compute-driver.ts";
import { RedisAccess } from "./drivers/redis/redis-access.ts";
import { RedisEngineDriver } from "./drivers/redis/redis-engine-driver.ts";
import { storeMonitors } from "./drivers/store-monitors.ts";
import { telemetrySink } from "./drivers/telemetry-sink.ts";
import { edgeLayout } from "./host/edge-layout.ts";
import type { Home } from "./host/home.ts";
import { wasStoppedAt } from "./host/last-stop.ts";
import {
  enginePlaces,
  enginePort,
  type InstallationPorts,
  monitoringPorts,
  storePorts,
} from "./host/ports.ts";
import type { NodeRuntime } from "./host/runtime.ts";
import type { Log } from "./host/state-upkeep.ts";
import { systemClock } from "./kernel/clock.ts";
import { appReach } from "./operations/app-reach.ts";
import { usesDockerfile } from "./resources/app/infer.ts";
import { AppSecrets } from "./store/app-secrets.ts";
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
  readonly log: Log;
}

export type World = ReturnType<typeof composeWorld>;

export function composeWorld(options: WorldOptions, store: SqliteStore, vault: SecretVault) {
  const edge = composeEdge(options);
  const key = ensureKeyFile(options.home.telemetryKey);
  return {
    ...composeCompute(options, edge, store),
    ...composeStores(options, store, vault),
    edge,
    smokeProbe: new EdgeSmokeProbe({
      host: options.config.bind ?? "127.0.0.1",
      port: options.ports.https,
    }),
    secrets: new AppSecrets(vault),
    sealed: new ResourceVault(vault),
    repositories: new RemoteRepositories(join(options.home.gitDir, "remote")),
    git: new GitServer({
      dir: join(options.home.gitDir, "hosted"),
      hook: [join(options.runtime.binDir, "node"), GIT_RECEIVE],
      apiSocket: options.home.edgeApiSocket,
    }),
    telemetrySink: telemetrySink(
      { http: options.ports.otlpHttp, grpc: options.ports.otlpGrpc },
      (instance) => senderToken(instance, key),
    ),
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
    isImage: ({ manifest, sourceDigest }) =>
      usesDockerfile(manifest, {
        folder: "",
        files: sources.readFiles(sourceDigest, ["Dockerfile"]),
      }),
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
        : appReach(
            user,
            [
              ...[ports.http, ports.https, ports.otlpHttp, ports.otlpGrpc],
              ...storePorts(home, user.split("/")[0]),
              ...Object.values(edge.internalPorts(user)),
            ],
            store,
          ),
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
    ...enginePlaces(home, name, (environment) => join(home.environmentDir(environment), name)),
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
    storeMonitors: storeMonitors({
      portOf: (name, environment) => enginePort(home, name, environment),
      password: (name, environment) =>
        vault.ensure(`engine/${name}-monitor/${environment}`, newPassword),
      postgres,
      redis,
    }),
  };
}
