// What a container says, out of Docker's framing.

import { once } from "node:events";
import { createWriteStream } from "node:fs";
import type { Readable } from "node:stream";

/** Appends a container's output to a file until it ends. */
export async function copyLog(stream: Readable, file: string): Promise<void> {
  const out = createWriteStream(file, { flags: "a", mode: 0o600 });
  // A full disk costs lines, nothing else.
  let isLost = false;
  let isOpenLine = false;
  out.on("error", () => {
    isLost = true;
  });
  let rest: Buffer = Buffer.alloc(0);
  try {
    for await (const chunk of stream) {
      const { text, left } = demultiplex(Buffer.concat([rest, chunk as Buffer]));
      rest = left;
      if (text) isOpenLine = !text.endsWith("\n");
      if (text && !isLost && !out.write(text)) await once(out, "drain").catch(() => undefined);
    }
  } finally {
    // What it wrote last is a line too, also where it did not end it.
    out.end(isOpenLine ? "\n" : "");
  }
}

/** Docker's framing of two streams in one: a header of 8 bytes, the last four the length. */
export function demultiplex(buffer: Buffer): { text: string; left: Buffer } {
  let text = "";
  let at = 0;
  while (at + 8 <= buffer.length) {
    const end = at + 8 + buffer.readUInt32BE(at + 4);
    if (end > buffer.length) break;
    text += buffer.toString("utf8", at + 8, end);
    at = end;
  }
  return { text, left: buffer.subarray(at) };
}
