// Files of a folder as a tar stream. It ends, whatever is in the folder: only files, folders and links
// are packed, each file as long as it is when its turn comes, never by more than one at a time.

import { close, constants, fstat, lstat, open, read, readlink } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { promisify } from "node:util";
import { createGzip } from "node:zlib";
import { type Header, type Pack, pack } from "tar-stream";
import { invalid } from "../kernel/error.ts";

const [openFile, closeFile, statFile, statPath, readFile, linkTarget] = [
  promisify(open),
  promisify(close),
  promisify(fstat),
  promisify(lstat),
  promisify(read),
  promisify(readlink),
];
const CHUNK_BYTES = 256 * 1024;

export interface PackOptions {
  readonly gzip?: boolean;
  /** Told of what is left out, being neither file, folder nor link. */
  readonly onLeftOut?: (path: string, why: string) => void;
}

/** @param paths below `dir`, with slashes, folders before what is in them */
export function packFiles(
  dir: string,
  paths: readonly string[],
  { gzip = false, onLeftOut = () => undefined }: PackOptions = {},
): Readable {
  const tar = pack();
  const work = async (): Promise<void> => {
    for (const path of paths) await addEntry(tar, dir, path, onLeftOut);
    tar.finalize();
  };
  work().catch((error: Error) => tar.destroy(error));
  if (!gzip) return tar as unknown as Readable;
  const zipped = createGzip({ level: 1 });
  tar.on("error", (error: Error) => zipped.destroy(error));
  return (tar as unknown as Readable).pipe(zipped);
}

async function addEntry(
  tar: Pack,
  dir: string,
  path: string,
  onLeftOut: (path: string, why: string) => void,
): Promise<void> {
  const at = join(dir, path);
  const stat = await statPath(at).catch(() => undefined);
  if (!stat) return onLeftOut(path, "it is gone");
  const head = { name: path, mtime: stat.mtime, mode: stat.mode & 0o777 };
  if (stat.isDirectory()) return addWhole(tar, { ...head, type: "directory" });
  if (stat.isSymbolicLink())
    return addWhole(tar, { ...head, type: "symlink", linkname: await linkTarget(at) });
  if (!stat.isFile()) return onLeftOut(path, "it is no file");
  // By its descriptor from here on: what lies under that name may be another by now.
  const file = await openFile(at, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const { size, mode } = await statFile(file);
    await addContent(tar, { ...head, mode: mode & 0o777, size, type: "file" }, file, path);
  } finally {
    await closeFile(file);
  }
}

const addWhole = (tar: Pack, headers: Partial<Header> & { readonly name: string }): Promise<void> =>
  new Promise((resolve, reject) => {
    tar.entry(headers, (error) => (error ? reject(error) : resolve()));
  });

async function addContent(
  tar: Pack,
  headers: Partial<Header> & { readonly name: string } & { readonly size: number },
  file: number,
  path: string,
): Promise<void> {
  const done = Promise.withResolvers<void>();
  const entry = tar.entry(headers, (error) => (error ? done.reject(error) : done.resolve()));
  // Told by the stream as a whole, once.
  done.promise.catch(() => undefined);
  entry.on("error", () => undefined);
  let left = headers.size;
  while (left > 0) {
    const { buffer, bytesRead } = await readFile(
      file,
      Buffer.allocUnsafe(Math.min(CHUNK_BYTES, left)),
      0,
      Math.min(CHUNK_BYTES, left),
      null,
    );
    if (bytesRead === 0)
      throw invalid("source.changed", `${path} became shorter while it was packed`, {
        hint: "try again when nothing writes to it",
      });
    left -= bytesRead;
    if (!entry.write(buffer.subarray(0, bytesRead)))
      await new Promise<void>((resolve, reject) => {
        entry.once("drain", resolve);
        done.promise.catch(reject);
      });
  }
  entry.end(null);
  await done.promise;
}
