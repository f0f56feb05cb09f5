// Ports for instances, below the range that the kernel gives to outgoing connections: an instance
// that restarts finds its port still its own.

import { readdirSync, readlinkSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { stuck } from "../../kernel/error.ts";
import { readText } from "../files.ts";

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

/** Whether one of these processes listens on the port. */
export function isListening(pids: readonly number[], port: number): boolean {
  const inodes = new Set(["tcp", "tcp6"].flatMap((table) => listenersAt(table, port)));
  return pids.some((pid) => socketsOf(pid).some((inode) => inodes.has(inode)));
}

const LISTENS = "0A";

function listenersAt(table: string, port: number): string[] {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  return (readText(`/proc/net/${table}`) ?? "")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local, , state]) => state === LISTENS && local?.endsWith(`:${hex}`))
    .map((fields) => fields[9] ?? "");
}

function socketsOf(pid: number): string[] {
  const dir = `/proc/${pid}/fd`;
  try {
    return readdirSync(dir).flatMap((fd) => {
      const inode = /^socket:\[(\d+)\]$/.exec(linkOf(join(dir, fd)))?.[1];
      return inode === undefined ? [] : [inode];
    });
  } catch {
    // It has ended, or is not ours to look into.
    return [];
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}
