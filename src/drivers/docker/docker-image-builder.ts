// Images from Dockerfiles, built by the engine itself from the uploaded source.

import { createHash } from "node:crypto";
import { appendFileSync } from "node:fs";
import type { Readable } from "node:stream";
import { dockerIgnore } from "../../archive/docker-ignore.ts";
import { packFiles } from "../../archive/pack.ts";
import { DEFAULT_BUILD_TIMEOUT_MS, defaultBuildResources } from "../../resources/app/manifest.ts";
import type { Artifact } from "../../resources/release/release.ts";
import type { BuildRequest } from "../../resources/release/release-driver.ts";
import type { ImageBuilder } from "../build/artifact-builder.ts";
import { BuildError } from "../build/build-error.ts";
import { readInside } from "../build/inside.ts";
import { listTree } from "../build/tree.ts";
import type { DockerEngine } from "./docker-engine.ts";

interface BuildMessage {
  readonly stream?: string;
  readonly error?: string;
  readonly aux?: { readonly ID?: string };
}

/** Of 1024: a build gets the CPU that nobody else wants. */
const BUILD_CPU_SHARES = 20;

export class DockerImageBuilder implements ImageBuilder {
  readonly #engine: DockerEngine;
  readonly #installation: string;

  constructor(engine: DockerEngine, installation: string) {
    this.#engine = engine;
    this.#installation = createHash("sha256").update(installation).digest("hex").slice(0, 12);
  }

  async exists({ digest }: Artifact): Promise<boolean> {
    if (!this.#engine.isPresent) return false;
    return (
      (await this.#engine.call("GET", `/images/${digest}/json`, { accept: [404] })).status !== 404
    );
  }

  async remove({ digest }: Artifact): Promise<void> {
    if (!this.#engine.isPresent) return;
    await this.#engine.call("DELETE", `/images/${digest}?force=true`, { accept: [404, 409] });
  }

  async build(
    request: BuildRequest,
    sourceDir: string,
    logFile: string,
    signal: AbortSignal,
  ): Promise<Artifact> {
    const hint = `holdfast logs ${request.app.split("/")[1]}/build`;
    const dockerfile = request.manifest.build?.dockerfile ?? "Dockerfile";
    if (readInside(sourceDir, dockerfile, DOCKERFILE_MAX_BYTES) === undefined)
      throw new BuildError(`there is no ${dockerfile}`, "set build.dockerfile in holdfast.yaml");
    if ((await this.#engine.findVersion()) === undefined) {
      throw new BuildError(
        "a Dockerfile needs a container engine, and none answers",
        "apt-get install docker.io and start it, or give the app a Procfile and compute: process",
      );
    }
    const { build } = request.manifest;
    const memory = String((build?.resources ?? defaultBuildResources).memory);
    const timeoutMs = build?.timeout ?? DEFAULT_BUILD_TIMEOUT_MS;
    const late = AbortSignal.timeout(timeoutMs);
    const tag = `holdfast/${this.#installation}/${request.app}:r${request.number}`;
    const query = new URLSearchParams({
      dockerfile,
      t: tag,
      rm: "1",
      forcerm: "1",
      cpushares: String(BUILD_CPU_SHARES),
      memory,
      memswap: memory,
    });
    const context = packFiles(sourceDir, await contextPaths(sourceDir, dockerfile));
    try {
      const output = await this.#engine.stream("POST", `/build?${query}`, {
        body: context,
        signal: AbortSignal.any([signal, late]),
      });
      const id = await this.#follow(output, logFile, hint);
      return { kind: "image", digest: id };
    } catch (error) {
      if (!late.aborted || signal.aborted) throw error;
      throw new BuildError(`the build failed: it took longer than ${timeoutMs / 1000} s`, hint);
    }
  }

  async #follow(output: Readable, logFile: string, hint: string): Promise<string> {
    let rest = "";
    let id: string | undefined;
    for await (const chunk of output) {
      const lines = (rest + String(chunk)).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines.filter((one) => one.trim())) {
        const message = JSON.parse(line) as BuildMessage;
        if (message.stream) appendFileSync(logFile, message.stream);
        if (message.aux?.ID) id = message.aux.ID;
        if (message.error) {
          appendFileSync(logFile, `${message.error}\n`);
          throw new BuildError(`the build failed: ${message.error}`, hint);
        }
      }
    }
    if (id !== undefined) return id;
    throw new BuildError("the engine ended the build without an image", hint);
  }
}

const IGNORE_MAX_BYTES = 1024 ** 2;
const DOCKERFILE_MAX_BYTES = 1024 ** 2;

/** What the Dockerfile sees: all but what its .dockerignore leaves out. */
async function contextPaths(dir: string, dockerfile: string): Promise<string[]> {
  const ignored = [`${dockerfile}.dockerignore`, ".dockerignore"]
    .map((name) => readInside(dir, name, IGNORE_MAX_BYTES))
    .find((text) => text !== undefined);
  const isOut = dockerIgnore(ignored ?? "", [dockerfile, ".dockerignore"]);
  // Through no link: what is behind one has its own place in the folder.
  return (await listTree(dir))
    .map(({ name }) => name)
    .filter((path) => !isOut(path))
    .toSorted();
}
