import { Readable } from "node:stream";
import type { ByteStream } from "../kernel/byte-stream.ts";

export const readableOf = (bytes: ByteStream): Readable =>
  bytes instanceof Readable ? bytes : Readable.from(bytes);
