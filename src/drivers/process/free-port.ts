// Ports for instances, below the range that the kernel gives to outgoing connections: an instance
// that restarts finds its port still its own.

import { createServer } from "node:net";
import { stuck } from "../../kernel/error.ts";

const FIRST = 20_000;
const LAST = 29_999;

/** A port on loopback that nobody listens on and that is not in `taken`. */
export async function findFreePort(
  taken: ReadonlySet<number>,
  seed: string,
  range: { readonly first: number; readonly last: number } = { first: FIRST, last: LAST },
): Promise<number> {
  const size = range.last - range.first + 1;
  let offset = 0;
  for (const char of seed) offset = (offset * 31 + char.charCodeAt(0)) % size;
  for (let i = 0; i < size; i += 1) {
    const port = range.first + ((offset + i) % size);
    if (!taken.has(port) && (await isPortFree(port))) return port;
  }
  throw stuck("port.none_free", `no port is free between ${range.first} and ${range.last}`, {
    hint: "scale something down, or end other programs that listen there",
  });
}

export function isPortFree(port: number, host = "127.0.0.1"): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
