// Artifacts by the digest of everything in them. What is here was sealed and digested after the last
// program that could write to it had ended, and is looked at again before anything is started from it.

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Artifact } from "../../resources/release/release.ts";
import { bootId, readJson, setAside, writeJson } from "../files.ts";
import { digestTree, fingerprintTree } from "./tree.ts";

/** When an artifact was last seen to be what its digest says. */
interface Seal {
  readonly bootId: string;
  readonly fingerprint: string;
  /** Of an artifact of an earlier build of Holdfast, whose name says less: the digest that it had. */
  readonly content?: string;
}

/** Of an earlier build of Holdfast: what it is now is what it was. */
const UNKNOWN: Seal = { bootId: "", fingerprint: "", content: "" };

export class ArtifactStore {
  readonly #dir: string;
  readonly #sealsDir: string;
  readonly #scratch: string;
  readonly #verifying = new Map<string, Promise<string | undefined>>();

  /** `scratch`: where what is on its way out lies; emptied by whoever owns it. */
  constructor(dir: string, scratch: string) {
    this.#dir = join(dir, "artifacts");
    this.#sealsDir = join(dir, "seals");
    this.#scratch = scratch;
    mkdirSync(this.#dir, { recursive: true, mode: 0o711 });
    if (existsSync(this.#sealsDir)) return;
    mkdirSync(this.#sealsDir, { recursive: true, mode: 0o700 });
    for (const digest of readdirSync(this.#dir)) writeJson(this.#sealOf(digest), UNKNOWN);
  }

  dirOf(digest: string): string {
    return join(this.#dir, digest);
  }

  has(digest: string): boolean {
    return existsSync(this.dirOf(digest));
  }

  /** Moves a sealed folder into the store. Calls `keep` before `prune` could drop the artifact. */
  async add(
    sealed: string,
    known: ReadonlyMap<string, string>,
    keep: (artifact: Artifact) => void,
  ): Promise<Artifact> {
    const digest = await digestTree(sealed, known);
    const artifact: Artifact = { kind: "directory", digest };
    // One that was changed since is no reason to go on with it.
    const isWhole = this.has(digest) && (await this.findFault(digest)) === undefined;
    if (isWhole && this.has(digest)) {
      keep(artifact);
      return artifact;
    }
    const old = this.#setAside(digest);
    renameSync(sealed, this.dirOf(digest));
    keep(artifact);
    await this.#seal(digest, digest);
    await old?.();
    return artifact;
  }

  /**
   * Undefined where it is what its digest says; otherwise what is wrong. All of it is read once after
   * each start of the machine; after that, unless something was touched, only looked at.
   */
  findFault(digest: string): Promise<string | undefined> {
    const running = this.#verifying.get(digest);
    if (running !== undefined) return running;
    const work = this.#verify(digest).finally(() => this.#verifying.delete(digest));
    this.#verifying.set(digest, work);
    return work;
  }

  async #verify(digest: string): Promise<string | undefined> {
    const short = digest.slice(0, 12);
    const dir = this.dirOf(digest);
    if (!this.has(digest)) return `its artifact ${short} is gone; deploy again`;
    const seal = readJson<Seal>(this.#sealOf(digest));
    if (seal?.bootId === bootId() && seal.fingerprint === (await fingerprintTree(dir)))
      return undefined;
    const content = await digestTree(dir);
    const isFirstLook = seal?.content === "";
    if (!isFirstLook && content !== (seal?.content ?? digest))
      return `its artifact ${short} was changed after it was built; deploy again`;
    await this.#seal(digest, content);
    return undefined;
  }

  async #seal(digest: string, content: string): Promise<void> {
    const fingerprint = await fingerprintTree(this.dirOf(digest));
    const seal: Seal = {
      bootId: bootId(),
      fingerprint,
      ...(content !== digest && { content }),
    };
    writeJson(this.#sealOf(digest), seal);
  }

  /** Drops all but these. */
  async prune(isUsed: (digest: string) => boolean): Promise<void> {
    for (const digest of readdirSync(this.#dir)) {
      if (isUsed(digest)) continue;
      await this.#setAside(digest)?.();
    }
  }

  #setAside(digest: string): (() => Promise<void>) | undefined {
    rmSync(this.#sealOf(digest), { force: true });
    return setAside(this.dirOf(digest), this.#scratch);
  }

  #sealOf(digest: string): string {
    return join(this.#sealsDir, `${digest}.json`);
  }
}
