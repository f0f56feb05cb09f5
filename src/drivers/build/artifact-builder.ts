// From source to artifact. One build at a time, at the lowest priority, under the app's own user;
// what is live never waits for it. A build whose inputs were seen before is not built again.

import { createHash } from "node:crypto";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
} from "node:fs";
import { delimiter, join } from "node:path";
import { asHoldfastError, messageOf } from "../../kernel/error.ts";
import { defaultResources } from "../../resources/app/manifest.ts";
import type { Artifact } from "../../resources/release/release.ts";
import type {
  ArtifactBuilder,
  BuildOutcome,
  BuildRequest,
  BuildState,
} from "../../resources/release/release-driver.ts";
import { run } from "../exec.ts";
import { chownTree, readJson, sealTree, writeJson, writeWhole } from "../files.ts";
import { describeLog, endLog } from "../log-source.ts";
import { tailFile } from "../log-tail.ts";
import { type AppUsers, appCommand, dropTo, SYSTEM_PATH } from "../process/app-user.ts";
import { Cgroup } from "../process/cgroup.ts";
import { DependencyCache } from "./dependency-cache.ts";
import { assertDiskSpace, digestTree, type SourceStore } from "./source-store.ts";

export interface ImageBuilder {
  /** Builds the Dockerfile in the folder; throws `BuildError` with the reason. */
  build(request: BuildRequest, sourceDir: string, logFile: string): Promise<Artifact>;
  exists(artifact: Artifact): Promise<boolean>;
  /** Harmless where it is gone, or still in use by a container. */
  remove(artifact: Artifact): Promise<void>;
}

export interface ArtifactBuilderOptions {
  /** Holds artifacts by digest, the dependency cache and scratch folders. */
  readonly dir: string;
  readonly sources: SourceStore;
  readonly logDir: string;
  readonly nodeBinDir: string;
  readonly nodeVersion: string;
  /** Tells this installation's control groups from those of another. */
  readonly installation: string;
  readonly users: AppUsers;
  /** Has the packet filter know every app's user, before anything of a new app runs. */
  readonly keepApart: () => Promise<unknown>;
  readonly images: ImageBuilder;
  readonly isImage: (request: BuildRequest) => boolean;
}

/** A build that failed for a reason of its own: its output says which. */
export class BuildError extends Error {
  readonly hint: string;
  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

const LOG_LINES = 30;
const JOIN_CGROUP = join(import.meta.dirname, "..", "process", "join-cgroup.sh");

export class DirectoryArtifactBuilder implements ArtifactBuilder {
  readonly #options: ArtifactBuilderOptions;
  readonly #cache: DependencyCache;
  readonly #running = new Map<string, Promise<void>>();
  readonly #results = new Map<string, BuildOutcome>();
  #queue: Promise<unknown> = Promise.resolve();

  constructor(options: ArtifactBuilderOptions) {
    this.#options = options;
    for (const folder of ["artifacts", "keys", "scratch", "home"]) {
      mkdirSync(join(options.dir, folder), { recursive: true, mode: 0o711 });
    }
    for (const left of readdirSync(join(options.dir, "scratch"))) {
      rmSync(join(options.dir, "scratch", left), { recursive: true, force: true });
    }
    this.#cache = new DependencyCache({
      dir: join(options.dir, "dependencies"),
      nodeVersion: options.nodeVersion,
    });
  }

  artifactDir(digest: string): string {
    return join(this.#options.dir, "artifacts", digest);
  }

  async observe(request: BuildRequest): Promise<BuildState> {
    const key = this.#buildKey(request);
    return { result: this.#results.get(key), isRunning: this.#running.has(key) };
  }

  async start(request: BuildRequest, onEnd: () => void): Promise<void> {
    const key = this.#buildKey(request);
    if (this.#running.has(key)) return;
    const work = this.#queue.then(async () => {
      this.#results.set(key, await this.#build(request));
      this.#running.delete(key);
      onEnd();
    });
    this.#queue = work;
    this.#running.set(key, work);
  }

  prune(app: string, kept: () => readonly BuildRequest[]): Promise<void> {
    // Between builds, and by what is wanted then: a release that was just made must find its artifact.
    const work = this.#queue.then(() => this.#prune(app, kept()));
    this.#queue = work.catch(() => undefined);
    return work;
  }

  async #prune(app: string, keep: readonly BuildRequest[]): Promise<void> {
    const inputs = new Set(keep.map((request) => this.#inputKey(request)));
    const keysDir = join(this.#options.dir, "keys");
    const prefix = `${app.replace("/", ".")}.`;
    const artifactOf = (file: string): Artifact | undefined => readJson(join(keysDir, file));
    const [dropped, kept] = partition(
      readdirSync(keysDir),
      (file) => file.startsWith(prefix) && !inputs.has(file),
    );
    const used = new Set(kept.map((file) => artifactOf(file)?.digest));
    for (const file of dropped) {
      for (const key of this.#results.keys())
        if (key.endsWith(` ${file}`)) this.#results.delete(key);
      const artifact = artifactOf(file);
      rmSync(join(keysDir, file), { force: true });
      if (artifact?.kind === "image" && !used.has(artifact.digest))
        await this.#options.images.remove(artifact);
    }
    for (const digest of readdirSync(join(this.#options.dir, "artifacts"))) {
      if (!used.has(digest)) rmSync(this.artifactDir(digest), { recursive: true, force: true });
    }
    if (keep.length > 0) return;
    this.#cache.forget(app);
    rmSync(this.#homeOf(app), { recursive: true, force: true });
  }

  #homeOf(app: string): string {
    return join(this.#options.dir, "home", app.replace("/", "."));
  }

  async #build(request: BuildRequest): Promise<BuildOutcome> {
    const logFile = this.#logFile(request);
    try {
      this.#openLog(request);
      const { artifact: given } = request;
      if (given && !(await this.#isThere(given)))
        throw new BuildError(
          `the artifact ${given.digest.slice(0, 12)} is no longer there`,
          "deploy it again where it came from, then promote",
        );
      if (given) writeJson(join(this.#options.dir, "keys", this.#inputKey(request)), given);
      const known = readJson<Artifact>(join(this.#options.dir, "keys", this.#inputKey(request)));
      if (known && (await this.#isThere(known))) return { outcome: "built", artifact: known };
      assertDiskSpace(this.#options.dir);
      const sourceDir = this.#options.sources.dirOf(request.sourceDigest);
      const artifact = this.#options.isImage(request)
        ? await this.#options.images.build(request, sourceDir, logFile)
        : await this.#buildDirectory(request, sourceDir, logFile);
      writeJson(join(this.#options.dir, "keys", this.#inputKey(request)), artifact);
      return { outcome: "built", artifact };
    } catch (error) {
      return this.#failure(request, error, logFile);
    } finally {
      endLog(logFile);
    }
  }

  #failure(request: BuildRequest, error: unknown, logFile: string): BuildOutcome {
    const log = tailFile(logFile, LOG_LINES);
    if (error instanceof BuildError)
      return { outcome: "failed", reason: error.message, hint: error.hint, log };
    const known = asHoldfastError(error);
    const hint = known.hint ?? `holdfast logs ${request.app.split("/")[1]}/build`;
    return { outcome: "failed", reason: messageOf(known), hint, log };
  }

  async #isThere(artifact: Artifact): Promise<boolean> {
    if (artifact.kind === "image") return this.#options.images.exists(artifact);
    return existsSync(this.artifactDir(artifact.digest));
  }

  async #buildDirectory(
    request: BuildRequest,
    sourceDir: string,
    logFile: string,
  ): Promise<Artifact> {
    const scratchHome = join(this.#options.dir, "scratch");
    const scratch = mkdtempSync(join(scratchHome, "build-"));
    const uid = this.#options.users.uidOf(request.app);
    try {
      cpSync(sourceDir, scratch, {
        recursive: true,
        verbatimSymlinks: true,
        preserveTimestamps: true,
      });
      chmodSync(scratch, 0o755);
      if (uid !== undefined) chownTree(scratch, uid);
      await this.#options.keepApart();
      const runBuild = this.#runner(request, logFile, uid);
      const { build } = request.manifest;
      const dependencies = await this.#cache.install(
        request.app,
        scratch,
        build?.command !== undefined,
        runBuild,
        uid,
      );
      const buildCommand = build?.command;
      if (buildCommand !== undefined) await runBuild(scratch, buildCommand);
      // What was linked from the cache is sealed already, and identified by what decided it.
      const linked = buildCommand === undefined ? dependencies.linked : [];
      sealTree(scratch, linked);
      const content = await digestTree(scratch, dependencies.folders);
      const digest = createHash("sha256").update(`${content}\0${dependencies.key}`).digest("hex");
      const target = this.artifactDir(digest);
      if (!existsSync(target)) renameSync(scratch, target);
      return { kind: "directory", digest };
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  }

  #runner(request: BuildRequest, logFile: string, uid: number | undefined) {
    const home = this.#homeOf(request.app);
    mkdirSync(home, { recursive: true, mode: 0o700 });
    if (uid !== undefined) chownSync(home, uid, uid);
    const cgroup = new Cgroup(this.#options.installation, `build.${request.app.replace("/", ".")}`);
    const procs = cgroup.ensure(defaultResources, "low");
    const low = ["nice", "-n", "19", "ionice", "-c", "3"];
    const prefix = [...low, "/bin/sh", JOIN_CGROUP, ...procs, "--", ...dropTo(uid)];
    const env = {
      ...networkVariables(process.env),
      PATH: ["node_modules/.bin", this.#options.nodeBinDir, SYSTEM_PATH].join(delimiter),
      HOME: home,
      LANG: "C.UTF-8",
      CI: "true",
      npm_config_cache: join(home, "npm-cache"),
    };
    const timeoutMs = request.manifest.build?.timeout ?? 1_800_000;
    return async (dir: string, commandLine: string): Promise<void> => {
      const command = appCommand(prefix, ["/bin/sh", "-c", commandLine], env);
      // A lost build of this app may still be there; and nothing of this one outlives its command.
      cgroup.kill();
      const { code } = await run(command.argv, {
        cwd: dir,
        env: command.env,
        timeoutMs,
        logFile,
        ownGroup: true,
      });
      cgroup.kill();
      if (code === 0) return;
      const how =
        code === undefined
          ? `took longer than ${timeoutMs / 1000} s`
          : `ended with exit status ${code}`;
      throw new BuildError(
        `the build failed: "${commandLine}" ${how}`,
        `holdfast logs ${request.app.split("/")[1]}/build`,
      );
    };
  }

  // Numbers begin again after an app was destroyed: what goes in tells one build from another.
  #buildKey(request: BuildRequest): string {
    return `${keyOf(request)} ${this.#inputKey(request)}`;
  }

  #inputKey(request: BuildRequest): string {
    const { build, compute } = request.manifest;
    const inputs = [
      request.sourceDigest,
      JSON.stringify(build ?? {}),
      compute ?? "",
      this.#options.nodeVersion,
      ...(request.artifact ? [request.artifact.digest] : []),
    ];
    const hash = createHash("sha256").update(inputs.join("\0")).digest("hex").slice(0, 32);
    return `${request.app.replace("/", ".")}.${hash}.json`;
  }

  #logFile(request: BuildRequest): string {
    return join(this.#options.logDir, `${keyOf(request).replace("/", ".")}.build.log`);
  }

  #openLog(request: BuildRequest): string {
    const file = this.#logFile(request);
    const { app, number } = request;
    describeLog(file, { app, service: "build", release: number, instance: "build", role: "build" });
    if (!existsSync(file)) writeWhole(file, "");
    return file;
  }
}

function partition<Item>(
  items: readonly Item[],
  isFirst: (item: Item) => boolean,
): [Item[], Item[]] {
  return [items.filter(isFirst), items.filter((item) => !isFirst(item))];
}

const keyOf = ({ app, number }: BuildRequest): string => `${app}.r${number}`;

/** How this machine reaches package registries (proxies, authorities): builds need to know it too. */
const NETWORK_VARIABLE =
  /^(https?_proxy|no_proxy|node_extra_ca_certs|ssl_cert_(file|dir)|npm_config_(registry|cafile|proxy|https_proxy)|pip_.+)$/i;

function networkVariables(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([key]) => NETWORK_VARIABLE.test(key)));
}
