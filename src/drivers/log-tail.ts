import { closeSync, fstatSync, openSync, readSync } from "node:fs";

const TAIL_BYTES = 64 * 1024;

/** The last lines of a file, oldest first; none where there is no file. */
export function tailFile(path: string, maxLines: number): readonly string[] {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch {
    return [];
  }
  try {
    const { size } = fstatSync(file);
    const start = Math.max(0, size - TAIL_BYTES);
    const buffer = Buffer.alloc(size - start);
    readSync(file, buffer, 0, buffer.length, start);
    // What was collected already may be a hole by now: it reads as zero bytes.
    const text = buffer.toString("utf8").replaceAll("\0", "");
    return text.split("\n").filter(Boolean).slice(-maxLines);
  } finally {
    closeSync(file);
  }
}
