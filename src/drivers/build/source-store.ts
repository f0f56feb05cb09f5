// Source as it was uploaded, one folder per content digest.

import { createHash } from "node:crypto";
import {
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  utimesSync,
} from "node:fs";
import { lstat, readdir, readlink } from "node:fs/promises";
import { dirname, isAbsolute, join, relative } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { extract } from "tar";
import { asHoldfastError, diskFull, invalid, messageOf } from "../../kernel/error.ts";
import { readText } from "../files.ts";
import { compareTrees } from "./source-difference.ts";

export const SOURCE_MAX_BYTES = 512 * 1024 ** 2;
const UNPACKED_MAX_BYTES = 2 * 1024 ** 3;
const UNPACKED_MAX_ENTRIES = 200_000;
const IGNORE_HINT =
  "keep what is not needed out with a .holdfastignore file (the syntax of .gitignore)";
/** Below this much free space nothing is uploaded or built: the rest belongs to what runs. */
export const DISK_RESERVE_BYTES = 256 * 1024 ** 2;

const YOUNG_MS = 10 * 60_000;

export interface StoredSource {
  readonly digest: string;
  readonly bytes: number;
  readonly dir: string;
}

export class SourceStore {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
    mkdirSync(dir, { recursive: true, mode: 0o711 });
    // Of uploads that a killed control plane had begun.
    for (const left of readdirSync(dir).filter((name) => name.startsWith("upload-")))
      rmSync(join(dir, left), { recursive: true, force: true });
  }

  dirOf(digest: string): string {
    return join(this.#dir, digest);
  }

  /** Unpacks a (gzipped) tar. Nothing is left behind where it fails. */
  async add(archive: Readable): Promise<StoredSource> {
    assertDiskSpace(this.#dir);
    const scratch = mkdtempSync(join(this.#dir, "upload-"));
    const tree = join(scratch, "tree");
    const file = join(scratch, "archive.tar");
    try {
      await pipeline(
        archive,
        limitBytes(SOURCE_MAX_BYTES),
        createWriteStream(file, { mode: 0o600 }),
      );
      mkdirSync(tree, { mode: 0o755 });
      await unpack(file, tree);
      refuseEscapes(tree);
      const digest = await digestTree(tree);
      const dir = this.dirOf(digest);
      if (!existsSync(dir)) renameSync(tree, dir);
      utimesSync(dir, new Date(), new Date());
      return { digest, bytes: statSync(file).size, dir };
    } catch (error) {
      const known = asHoldfastError(error);
      if (known.actsNext !== "developer") throw known;
      throw invalid("source.unreadable", `the upload can't be unpacked: ${messageOf(error)}`, {
        hint: "links must stay in the app's folder; a file that changed while it was packed: try again",
        cause: error,
      });
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  }

  /** The text of these files in the top folder, where they are. */
  readFiles(digest: string, names: readonly string[]): Record<string, string> {
    const entries = names.flatMap((name): [string, string][] => {
      const text = readText(join(this.dirOf(digest), name));
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

async function unpack(file: string, tree: string): Promise<void> {
  let [bytes, entries] = [0, 0];
  const isTooMuch = (): boolean => bytes > UNPACKED_MAX_BYTES || entries > UNPACKED_MAX_ENTRIES;
  await extract({
    file,
    cwd: tree,
    preserveOwner: false,
    strict: true,
    noChmod: true,
    filter: (_path, entry) => {
      bytes += entry.size ?? 0;
      entries += 1;
      return !isTooMuch();
    },
  });
  if (isTooMuch())
    throw invalid(
      "source.too_large",
      `unpacked, the source is larger than ${UNPACKED_MAX_BYTES / 1024 ** 3} GB or has more than ${UNPACKED_MAX_ENTRIES} files`,
      { hint: IGNORE_HINT },
    );
}

// A link that leads out, also by way of other links, would have us read or change what is there.
function refuseEscapes(tree: string): void {
  const root = realpathSync(tree);
  const isInside = (path: string): boolean => path === root || path.startsWith(`${root}/`);
  for (const entry of readdirSync(tree, { recursive: true, withFileTypes: true })) {
    if (!entry.isSymbolicLink()) continue;
    const path = join(entry.parentPath, entry.name);
    const target = readlinkSync(path);
    const leads = existsSync(path)
      ? realpathSync(path)
      : resolveInside(root, dirname(path), target);
    if (isAbsolute(target) || leads === undefined || !isInside(leads))
      throw invalid(
        "source.link_leads_out",
        `${relative(tree, path)} is a link to ${target}, which is not in the app's folder`,
        { hint: "put a copy in its place, or keep it out with a .holdfastignore file" },
      );
  }
}

/** Where a link to something that is not there leads; undefined where it leaves `root` on its way. */
function resolveInside(root: string, from: string, target: string): string | undefined {
  let at = realpathSync(from);
  for (const part of target.split("/")) {
    at = join(at, part);
    if (existsSync(at)) at = realpathSync(at);
    if (at !== root && !at.startsWith(`${root}/`)) return undefined;
  }
  return at;
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

export function assertDiskSpace(dir: string): void {
  const { bavail, bsize } = statfsSync(dir);
  if (bavail * bsize < DISK_RESERVE_BYTES) {
    throw diskFull(
      undefined,
      `the disk that holds ${dir} has less than ${DISK_RESERVE_BYTES / 1024 ** 2} MB left: it`,
    );
  }
}

/** sha256 over every path, mode and content below a folder; folders named in `except` left out. */
export async function digestTree(root: string, except: readonly string[] = []): Promise<string> {
  const hash = createHash("sha256");
  const walk = async (path: string): Promise<void> => {
    const entries = await readdir(join(root, path), { withFileTypes: true });
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const at = path ? `${path}/${entry.name}` : entry.name;
      if (except.includes(at)) continue;
      if (entry.isDirectory()) {
        hash.update(`d ${at}\0`);
        await walk(at);
      } else if (entry.isSymbolicLink()) {
        hash.update(`l ${at}\0${await readlink(join(root, at))}\0`);
      } else if (entry.isFile()) {
        const { mode, size } = await lstat(join(root, at));
        hash.update(
          `f ${at}\0${mode & 0o111 ? "x" : "-"}\0${await digestFile(join(root, at), size)}\0`,
        );
      }
    }
  };
  await walk("");
  return hash.digest("hex");
}

const SMALL_FILE_BYTES = 1024 ** 2;

async function digestFile(path: string, size: number): Promise<string> {
  const hash = createHash("sha256");
  if (size <= SMALL_FILE_BYTES) return hash.update(readFileSync(path)).digest("hex");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}
