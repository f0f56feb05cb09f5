// Source as it was uploaded, one folder per content digest.

import {
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  utimesSync,
} from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { ByteStream } from "../../kernel/byte-stream.ts";
import {
  asHoldfastError,
  diskFull,
  errorOfProblem,
  type HoldfastError,
  invalid,
  messageOf,
  type Problem,
  transient,
} from "../../kernel/error.ts";
import { Turns } from "../../kernel/turns.ts";
import { readableOf } from "../byte-stream.ts";
import { type Argv, run } from "../exec.ts";
import { removeTree } from "../files.ts";
import { Cgroup } from "../process/cgroup.ts";
import { readInside } from "./inside.ts";
import { compareTrees } from "./source-difference.ts";
import { DISK_RESERVE_BYTES, IGNORE_HINT } from "./source-limits.ts";

const JOIN_CGROUP = join(import.meta.dirname, "..", "process", "join-cgroup.sh");
export const SOURCE_MAX_BYTES = 512 * 1024 ** 2;
/** Uploads that come in, or wait to be unpacked; each may be as large as one may be. By account. */
const UPLOADS = { atOnce: 8, ofOne: 3, waitingMax: 20 };
const TRICKLE_LOOK_MS = 15_000;
/** An upload that brings less between two looks is given up: a few hundred bytes per second. */
const TRICKLE_MIN_BYTES = 4 * 1024;
/** What unpacking may take. */
const UNPACK_TIMEOUT_MS = 5 * 60_000;
const UNPACK_HEAP_MB = 256;
const UNPACK_RESOURCES = { cpu: 1, memory: 768 * 1024 ** 2, processes: 64 };
/** Of a file that is looked into: a manifest, a list of what it needs, a migration. */
const READ_MAX_BYTES = 4 * 1024 ** 2;
const YOUNG_MS = 10 * 60_000;

export interface StoredSource {
  readonly digest: string;
  readonly bytes: number;
  readonly dir: string;
}

export interface SourceStoreOptions {
  readonly dir: string;
  /** Program and script that unpack an archive into a folder: src/bin/unpack-source.ts. */
  readonly unpack: readonly [node: string, script: string];
  /** Tells this installation's control groups from those of another. */
  readonly installation: string;
}

export class SourceStore {
  readonly #dir: string;
  readonly #options: SourceStoreOptions;
  readonly #uploads = new Turns({
    ...UPLOADS,
    refusal: (who) =>
      transient("source.busy", `${UPLOADS.waitingMax} uploads of ${who} wait already`, {
        hint: "try again in a moment",
      }),
  });
  #unpacking: Promise<unknown> = Promise.resolve();

  constructor(options: SourceStoreOptions) {
    this.#options = options;
    const { dir } = options;
    this.#dir = dir;
    mkdirSync(dir, { recursive: true, mode: 0o711 });
    // Of uploads that a killed control plane had begun.
    for (const left of readdirSync(dir).filter((name) => name.startsWith("upload-")))
      rmSync(join(dir, left), { recursive: true, force: true });
  }

  dirOf(digest: string): string {
    return join(this.#dir, digest);
  }

  /** Unpacks a (gzipped) tar. Nothing is left behind where it fails, or where the signal fires. */
  add(archive: ByteStream, who: string, signal: AbortSignal): Promise<StoredSource> {
    return this.#uploads.take(who, () => this.#add(archive, signal), signal);
  }

  async #add(archive: ByteStream, signal: AbortSignal): Promise<StoredSource> {
    assertDiskSpace(this.#dir);
    const scratch = mkdtempSync(join(this.#dir, "upload-"));
    const tree = join(scratch, "tree");
    const file = join(scratch, "archive.tar");
    try {
      await pipeline(
        // Who sends is answered, also where the rest of it is not read.
        readableOf(archive).iterator({ destroyOnReturn: false }),
        limitBytes(SOURCE_MAX_BYTES),
        refuseTrickle,
        createWriteStream(file, { mode: 0o600 }),
        { signal },
      ).catch((error: unknown) => {
        throw asUploadError(error);
      });
      const digest = await this.#inTurn(() => this.#unpack(file, tree, signal));
      const dir = this.dirOf(digest);
      if (!existsSync(dir)) renameSync(tree, dir);
      utimesSync(dir, new Date(), new Date());
      return { digest, bytes: statSync(file).size, dir };
    } catch (error) {
      if (!signal.aborted) throw error;
      throw transient("source.given_up", "whoever uploaded has left", { hint: "try again" });
    } finally {
      await removeTree(scratch);
    }
  }

  // One at a time: its limits are then those of all.
  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const done = this.#unpacking.then(work);
    this.#unpacking = done.catch(() => undefined);
    return done;
  }

  async #unpack(file: string, tree: string, signal: AbortSignal): Promise<string> {
    signal.throwIfAborted();
    const { unpack, installation } = this.#options;
    const [node, script] = unpack;
    const cgroup = new Cgroup(installation, "upload");
    cgroup.kill();
    const procs = cgroup.ensure(UNPACK_RESOURCES);
    const argv = [
      "/bin/sh",
      JOIN_CGROUP,
      ...procs,
      "--",
      node,
      "--disable-warning=ExperimentalWarning",
      `--max-old-space-size=${UNPACK_HEAP_MB}`,
      script,
      file,
      tree,
    ];
    const { code, stdout, stderr } = await run(argv as unknown as Argv, {
      cwd: "/",
      timeoutMs: UNPACK_TIMEOUT_MS,
      ownGroup: true,
      signal,
    });
    if (code !== 0) throw unpackFailed(code, stderr);
    const { digest, problem } = JSON.parse(stdout) as { digest?: string; problem?: Problem };
    if (problem) throw errorOfProblem(problem);
    if (digest === undefined) throw unpackFailed(code, stdout);
    return digest;
  }

  /** The text of these files in the top folder, where they are. */
  readFiles(digest: string, names: readonly string[]): Record<string, string> {
    const entries = names.flatMap((name): [string, string][] => {
      const text = readInside(this.dirOf(digest), name, READ_MAX_BYTES);
      return text === undefined ? [] : [[name, text]];
    });
    return Object.fromEntries(entries);
  }

  compare(one: string, other: string) {
    return compareTrees(this.dirOf(one), this.dirOf(other));
  }

  /** Drops all but these digests, which are asked for when it comes to it. */
  async prune(kept: () => ReadonlySet<string>): Promise<void> {
    const entries = await readdir(this.#dir);
    const keep = kept();
    for (const entry of entries) {
      // What was only just uploaded is not spoken of yet: first it is looked at.
      const isNew = Date.now() - (statSync(this.dirOf(entry)).mtimeMs ?? 0) < YOUNG_MS;
      if (!keep.has(entry) && !entry.startsWith("upload-") && !isNew)
        rmSync(this.dirOf(entry), { recursive: true, force: true });
    }
  }
}

const unpackFailed = (code: number | undefined, output: string): HoldfastError =>
  invalid(
    "source.too_large",
    code === undefined
      ? "unpacking the upload took more time or memory than it may"
      : `the upload could not be unpacked: ${output.trim().split("\n").at(-1) ?? ""}`,
    { hint: IGNORE_HINT },
  );

function asUploadError(error: unknown): HoldfastError {
  const known = asHoldfastError(error);
  if (known.actsNext !== "developer") return known;
  return invalid("source.unreadable", `the upload broke off: ${messageOf(error)}`, {
    hint: "try again",
    cause: error,
  });
}

function limitBytes(maxBytes: number) {
  return async function* (chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    let bytes = 0;
    for await (const chunk of chunks) {
      bytes += chunk.length;
      if (bytes > maxBytes) {
        throw invalid("source.too_large", `the source is larger than ${maxBytes / 1024 ** 2} MB`, {
          hint: IGNORE_HINT,
        });
      }
      yield chunk;
    }
  };
}

async function* refuseTrickle(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let bytes = 0;
  let seen = -TRICKLE_MIN_BYTES;
  let giveUp: (why: Error) => void = () => undefined;
  const given = new Promise<never>((_, reject) => {
    giveUp = reject;
  });
  given.catch(() => undefined);
  const look = setInterval(() => {
    if (bytes - seen < TRICKLE_MIN_BYTES)
      giveUp(
        invalid("source.too_slow", "the upload came in too slowly, or not at all", {
          hint: "try again over a better connection, or keep large files out",
        }),
      );
    seen = bytes;
  }, TRICKLE_LOOK_MS);
  const from = chunks[Symbol.asyncIterator]();
  try {
    for (;;) {
      const { done, value } = await Promise.race([from.next(), given]);
      if (done) return;
      bytes += value.length;
      yield value;
    }
  } finally {
    clearInterval(look);
  }
}

export function assertDiskSpace(dir: string): void {
  const { bavail, bsize } = statfsSync(dir);
  if (bavail * bsize < DISK_RESERVE_BYTES) {
    throw diskFull(
      undefined,
      `the disk that holds ${dir} has less than ${DISK_RESERVE_BYTES / 1024 ** 2} MB left: it`,
    );
  }
}
