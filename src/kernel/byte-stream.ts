/** Bytes as they come, read once. */
export type ByteStream = AsyncIterable<Uint8Array>;
