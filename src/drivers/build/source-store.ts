// Source as it was uploaded, one folder per content digest.

import { createHash } from "node:crypto";
import {
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
} from "node:fs";
import { lstat, readdir, readlink } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { extract } from "tar";
import { asHoldfastError, diskFull, invalid } from "../../kernel/error.ts";
import { readText } from "../files.ts";

export const SOURCE_MAX_BYTES = 512 * 1024 ** 2;
/** Below this much free space nothing is uploaded or built: the rest belongs to what runs. */
export const DISK_RESERVE_BYTES = 256 * 1024 ** 2;

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
      await extract({ file, cwd: tree, preserveOwner: false, strict: true, noChmod: true });
      const digest = await digestTree(tree);
      const dir = this.dirOf(digest);
      if (!existsSync(dir)) renameSync(tree, dir);
      return { digest, bytes: statSync(file).size, dir };
    } catch (error) {
      const known = asHoldfastError(error);
      if (known.actsNext !== "developer") throw known;
      throw invalid("source.unreadable", "the upload is not a tar archive that can be unpacked", {
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

  async prune(keep: ReadonlySet<string>): Promise<void> {
    for (const entry of await readdir(this.#dir)) {
      if (!keep.has(entry) && !entry.startsWith("upload-"))
        rmSync(this.dirOf(entry), { recursive: true, force: true });
    }
  }
}

function limitBytes(maxBytes: number) {
  return async function* (chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    let bytes = 0;
    for await (const chunk of chunks) {
      bytes += chunk.length;
      if (bytes > maxBytes) {
        throw invalid("source.too_large", `the source is larger than ${maxBytes / 1024 ** 2} MB`, {
          hint: "keep what is not needed out with a .holdfastignore file (the syntax of .gitignore)",
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
