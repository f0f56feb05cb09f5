// From source to artifact. Builds run beside each other within limits, at the lowest priority, each
// in a sandbox of its own; what is live never waits for one, and neither does what was built before.

import { createHash } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { asHoldfastError, messageOf } from "../../kernel/error.ts";
import { DEFAULT_BUILD_TIMEOUT_MS, defaultBuildResources } from "../../resources/app/manifest.ts";
import type { Artifact } from "../../resources/release/release.ts";
import type {
  ArtifactBuilder,
  BuildOutcome,
  BuildRequest,
  BuildState,
} from "../../resources/release/release-driver.ts";
import { linkTree, readJson, removeTree, writeJson, writeWhole } from "../files.ts";
import { describeLog, endLog } from "../log-source.ts";
import { tailFile } from "../log-tail.ts";
import type { AppUsers } from "../process/app-user.ts";
import { ArtifactStore } from "./artifact-store.ts";
import { BuildError } from "./build-error.ts";
import { BuildQueue } from "./build-queue.ts";
import { BuildSandbox } from "./build-sandbox.ts";
import { type Dependencies, DependencyCache, recipesOf } from "./dependency-cache.ts";
import { assertDiskSpace, type SourceStore } from "./source-store.ts";

export interface ImageBuilder {
  /** Builds the Dockerfile in the folder; throws `BuildError` with the reason. */
  build(
    request: BuildRequest,
    sourceDir: string,
    logFile: string,
    signal: AbortSignal,
  ): Promise<Artifact>;
  exists(artifact: Artifact): Promise<boolean>;
  /** Harmless where it is gone, or still in use by a container. */
  remove(artifact: Artifact): Promise<void>;
}

export interface ArtifactBuilderOptions {
  /** Holds artifacts by digest, the dependency cache and scratch folders. */
  readonly dir: string;
  readonly sources: SourceStore;
  readonly logDir: string;
  /** The Node that builds get; its `bin` is first in their PATH. */
  readonly nodeDir: string;
  readonly nodeVersion: string;
  /** The installation's folder; also tells its control groups from those of another. */
  readonly installation: string;
  readonly users: AppUsers;
  /** Has the packet filter know every app's user, before anything of a new app runs. */
  readonly keepApart: () => Promise<unknown>;
  readonly images: ImageBuilder;
  readonly isImage: (request: BuildRequest) => boolean;
}

const LOG_LINES = 30;
/** One more than half of the cores: one that only downloads holds up nobody. */
const BUILDS_AT_ONCE = Math.max(2, Math.ceil(cpus().length / 2) + 1);

export class DirectoryArtifactBuilder implements ArtifactBuilder {
  readonly artifacts: ArtifactStore;
  readonly #options: ArtifactBuilderOptions;
  readonly #cache: DependencyCache;
  readonly #queue = new BuildQueue(BUILDS_AT_ONCE);
  readonly #results = new Map<string, BuildOutcome>();
  /** What a killed control plane left; removed before the first build. */
  readonly #cleared: Promise<unknown>;

  constructor(options: ArtifactBuilderOptions) {
    this.#options = options;
    for (const folder of ["keys", "scratch"])
      mkdirSync(join(options.dir, folder), { recursive: true, mode: 0o711 });
    this.artifacts = new ArtifactStore(options.dir, this.#scratch);
    this.#cache = new DependencyCache({
      dir: join(options.dir, "dependencies"),
      scratch: this.#scratch,
      nodeVersion: options.nodeVersion,
    });
    const left = readdirSync(this.#scratch).map((name) => join(this.#scratch, name));
    // Of an earlier build of Holdfast: homes that outlived their builds.
    this.#cleared = Promise.all([...left, join(options.dir, "home")].map(removeTree)).catch(
      () => undefined,
    );
  }

  async observe(request: BuildRequest): Promise<BuildState> {
    const key = this.#buildKey(request);
    return {
      result: this.#results.get(key),
      ahead: this.#queue.ahead(key),
      isEnding: this.#queue.isEnding(key),
    };
  }

  async start(request: BuildRequest, onEnd: () => void): Promise<void> {
    const key = this.#buildKey(request);
    const finish = (outcome: BuildOutcome): void => {
      this.#results.set(key, outcome);
      onEnd();
    };
    const known = await this.#findBuilt(request);
    if (known) return finish(known);
    this.#queue.add({
      key,
      app: request.app,
      work: async (signal) => finish(await this.#build(request, signal)),
    });
  }

  async cancel(request: BuildRequest): Promise<void> {
    this.#queue.cancel(this.#buildKey(request));
  }

  async prune(app: string, kept: () => readonly BuildRequest[]): Promise<void> {
    const keep = kept();
    const inputs = new Set(keep.map((request) => this.#inputKey(request)));
    const prefix = `${app.replace("/", ".")}.`;
    const dropped = this.#keys().filter((file) => file.startsWith(prefix) && !inputs.has(file));
    const images: Artifact[] = [];
    for (const file of dropped) {
      for (const key of this.#results.keys())
        if (key.endsWith(` ${file}`)) this.#results.delete(key);
      const artifact = this.#artifactOf(file);
      rmSync(join(this.#keysDir, file), { force: true });
      if (artifact?.kind === "image") images.push(artifact);
    }
    // Asked for each: a build may have ended meanwhile.
    const isUsed = (digest: string): boolean =>
      this.#keys().some((file) => this.#artifactOf(file)?.digest === digest);
    for (const image of images) if (!isUsed(image.digest)) await this.#options.images.remove(image);
    await this.artifacts.prune(isUsed);
    if (keep.length > 0) return;
    // One of the same name may be deployed already, and build with what is kept.
    await this.#queue.idle(app);
    if (kept().length === 0) await this.#cache.forget(app);
  }

  get #keysDir(): string {
    return join(this.#options.dir, "keys");
  }

  get #scratch(): string {
    return join(this.#options.dir, "scratch");
  }

  #keys(): readonly string[] {
    return readdirSync(this.#keysDir);
  }

  #artifactOf(file: string): Artifact | undefined {
    return readJson(join(this.#keysDir, file));
  }

  /** What needs no build: given from another environment, or made from the same before. */
  async #findBuilt(request: BuildRequest): Promise<BuildOutcome | undefined> {
    const { artifact: given } = request;
    if (given) {
      if (!(await this.#isThere(given)))
        return this.#failure(
          request,
          new BuildError(
            `the artifact ${given.digest.slice(0, 12)} is no longer there`,
            "deploy it again where it came from, then promote",
          ),
        );
      this.#remember(request, given);
      return { outcome: "built", artifact: given };
    }
    const known = this.#artifactOf(this.#inputKey(request));
    return known && (await this.#isThere(known))
      ? { outcome: "built", artifact: known }
      : undefined;
  }

  #remember(request: BuildRequest, artifact: Artifact): void {
    writeJson(join(this.#keysDir, this.#inputKey(request)), artifact);
  }

  async #build(request: BuildRequest, signal: AbortSignal): Promise<BuildOutcome> {
    const logFile = this.#logFile(request);
    try {
      this.#openLog(request);
      await this.#cleared;
      assertDiskSpace(this.#options.dir);
      const source = this.#options.sources.dirOf(request.sourceDigest);
      signal.throwIfAborted();
      if (!this.#options.isImage(request))
        return {
          outcome: "built",
          artifact: await this.#buildDirectory(request, source, logFile, signal),
        };
      const artifact = await this.#options.images.build(request, source, logFile, signal);
      this.#remember(request, artifact);
      return { outcome: "built", artifact };
    } catch (error) {
      if (signal.aborted)
        return this.#failure(request, new BuildError("the build was cancelled", "deploy again"));
      return this.#failure(request, error);
    } finally {
      endLog(logFile);
    }
  }

  #failure(request: BuildRequest, error: unknown): BuildOutcome {
    const log = tailFile(this.#logFile(request), LOG_LINES);
    if (error instanceof BuildError)
      return { outcome: "failed", reason: error.message, hint: error.hint, log };
    const known = asHoldfastError(error);
    const hint = known.hint ?? `holdfast logs ${request.app.split("/")[1]}/build`;
    return { outcome: "failed", reason: messageOf(known), hint, log };
  }

  async #isThere(artifact: Artifact): Promise<boolean> {
    if (artifact.kind === "image") return this.#options.images.exists(artifact);
    return this.artifacts.has(artifact.digest);
  }

  async #buildDirectory(
    request: BuildRequest,
    source: string,
    logFile: string,
    signal: AbortSignal,
  ): Promise<Artifact> {
    const { build } = request.manifest;
    const uid = this.#options.users.builderOf(request.app);
    await this.#options.keepApart();
    const open = (): Promise<BuildSandbox> =>
      BuildSandbox.open({
        dir: this.#scratch,
        home: this.#options.installation,
        app: request.app,
        uid,
        nodeDir: this.#options.nodeDir,
        resources: build?.resources ?? defaultBuildResources,
        timeoutMs: build?.timeout ?? DEFAULT_BUILD_TIMEOUT_MS,
        logFile,
        signal,
      });
    const recipes = recipesOf(source, build?.command !== undefined);
    const kept: Dependencies[] = [];
    for (const recipe of recipes.filter(({ inPlace }) => !inPlace))
      kept.push(await this.#cache.ensure(request.app, source, recipe, uid, open));
    const commands = [
      ...recipes.filter(({ inPlace }) => inPlace).flatMap((recipe) => recipe.commands),
      ...(build?.command === undefined ? [] : [build.command]),
    ];
    const taken = join(mkdtempSync(join(this.#scratch, "taken-")), "tree");
    const sandbox = await open();
    try {
      const known = await this.#make(sandbox, source, kept, commands, taken, logFile);
      return await this.artifacts.add(taken, known, (artifact) =>
        this.#remember(request, artifact),
      );
    } finally {
      await sandbox.close();
      await removeTree(join(taken, ".."));
    }
  }

  // Where nothing of the app runs, its tree is ours from beginning to end and shares the files of its
  // dependencies with the cache.
  async #make(
    sandbox: BuildSandbox,
    source: string,
    kept: readonly Dependencies[],
    commands: readonly string[],
    taken: string,
    logFile: string,
  ): Promise<ReadonlyMap<string, string>> {
    await sandbox.copy(source);
    for (const { folder } of kept) await removeTree(join(sandbox.tree, folder));
    const runs = commands.length > 0;
    if (runs) for (const { path, folder } of kept) await sandbox.copy(path, folder);
    if (runs) await sandbox.run(commands);
    const leftOut = await sandbox.takeOver(taken);
    if (leftOut > 0)
      appendFileSync(logFile, `left out ${leftOut} entries that are no files, folders or links\n`);
    if (!runs) for (const { path, folder } of kept) await linkTree(path, join(taken, folder));
    const known = runs ? [] : kept.map(({ folder, digest }) => [folder, digest] as const);
    return new Map(known);
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

  #openLog(request: BuildRequest): void {
    const file = this.#logFile(request);
    const { app, number } = request;
    describeLog(file, { app, service: "build", release: number, instance: "build", role: "build" });
    if (!existsSync(file)) writeWhole(file, "");
  }
}

const keyOf = ({ app, number }: BuildRequest): string => `${app}.r${number}`;
