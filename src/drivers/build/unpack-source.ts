// What somebody uploaded becomes a folder. It runs in a process of its own (src/bin/unpack-source.ts)
// with limits of memory and time: an archive says itself how much it holds, and is believed only to
// refuse it, before anything of it is written.

import { createReadStream, mkdirSync, readlinkSync, rmSync, statfsSync } from "node:fs";
import { open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { extract, list } from "tar";
import { holdfastIgnored } from "../../archive/source-folder.ts";
import {
  asHoldfastError,
  diskFull,
  type HoldfastError,
  invalid,
  messageOf,
} from "../../kernel/error.ts";
import { resolveInside } from "./inside.ts";
import { DISK_RESERVE_BYTES, IGNORE_HINT } from "./source-limits.ts";
import { digestTree, listTree } from "./tree.ts";

const UNPACKED_MAX_BYTES = 2 * 1024 ** 3;
const UNPACKED_MAX_ENTRIES = 200_000;
/** Of what is compressed; a thousand times that may come of it at once. */
const READ_BYTES = 64 * 1024;
/** Of an entry: its header, what it is filled up with, and a long name. */
const HEADERS_BYTES = 2_048;
const GZIP = 0x1f8b;
const ZSTD = 0x28b52ffd;
/** A file takes up whole blocks, and so does a folder. */
const BLOCK_BYTES = 4_096;

/**
 * Gives the digest of what was unpacked into a folder, which is made.
 *
 * @throws source.too_large, source.unreadable, source.link_leads_out, disk.full
 */
export async function unpackSource(archive: string, folder: string): Promise<string> {
  try {
    await assertInflates(archive);
    assertFits(archive, dirname(folder));
    mkdirSync(folder, { mode: 0o755 });
    extract({
      file: archive,
      cwd: folder,
      preserveOwner: false,
      strict: true,
      noChmod: true,
      sync: true,
      maxReadSize: READ_BYTES,
    });
    // Names of this walk lead through no link, whatever was unpacked.
    const all = (await listTree(folder)).map(({ name }) => name);
    for (const name of holdfastIgnored(folder, all))
      rmSync(join(folder, name), { recursive: true, force: true });
    await refuseEscapes(folder);
    return await digestTree(folder);
  } catch (error) {
    const known = asHoldfastError(error);
    if (known.actsNext !== "developer") throw known;
    throw invalid("source.unreadable", `the upload can't be unpacked: ${messageOf(error)}`, {
      hint: "links must stay in the app's folder; a file that changed while it was packed: try again",
      cause: error,
    });
  }
}

/** What it is altogether, whatever it says of its entries. */
async function assertInflates(archive: string): Promise<void> {
  const file = await open(archive);
  const { buffer } = await file.read(Buffer.alloc(4), 0, 4, 0);
  await file.close();
  // The reader would take it, and nothing here would count what comes out of it.
  if (buffer.readUInt32BE() === ZSTD)
    throw invalid("source.unreadable", "the upload can't be unpacked: it is compressed by zstd", {
      hint: "send a tar, or one that is compressed by gzip",
    });
  if (buffer.readUInt16BE() !== GZIP) return;
  let bytes = 0;
  const count = async (chunks: AsyncIterable<Buffer>): Promise<void> => {
    for await (const chunk of chunks) {
      bytes += chunk.length;
      if (bytes > UNPACKED_MAX_BYTES + UNPACKED_MAX_ENTRIES * HEADERS_BYTES) throw tooLarge();
    }
  };
  await pipeline(
    createReadStream(archive, { highWaterMark: READ_BYTES }),
    createGunzip({ chunkSize: READ_BYTES }),
    count,
  );
}

function assertFits(archive: string, dir: string): void {
  let [bytes, entries] = [0, 0];
  list({
    file: archive,
    strict: true,
    sync: true,
    maxReadSize: READ_BYTES,
    onReadEntry: ({ size }) => {
      bytes += size ?? 0;
      entries += 1;
      if (bytes > UNPACKED_MAX_BYTES || entries > UNPACKED_MAX_ENTRIES) throw tooLarge();
    },
  });
  const { bavail, bsize } = statfsSync(dir);
  const room = bavail * bsize - DISK_RESERVE_BYTES;
  if (bytes + entries * BLOCK_BYTES > room)
    throw diskFull(undefined, `the upload needs ${Math.ceil(bytes / 1024 ** 2)} MB, and ${dir}`);
}

const tooLarge = (): HoldfastError =>
  invalid(
    "source.too_large",
    `unpacked, the source is larger than ${UNPACKED_MAX_BYTES / 1024 ** 3} GB or has more than ${UNPACKED_MAX_ENTRIES} files`,
    { hint: IGNORE_HINT },
  );

// A link that leads out, also by way of other links, would have us read or change what is there.
async function refuseEscapes(folder: string): Promise<void> {
  for (const { name, stat } of await listTree(folder)) {
    if (!stat.isSymbolicLink() || resolveInside(folder, name) !== undefined) continue;
    throw invalid(
      "source.link_leads_out",
      `${name} is a link to ${readlinkSync(join(folder, name))}, which is not in the app's folder`,
      { hint: "put a copy in its place, or keep it out with a .holdfastignore file" },
    );
  }
}
