// The socket at which the edge reaches the API: the edge's user may, nobody else.

import { chmodSync, chownSync, rmSync } from "node:fs";
import { findSystemUser } from "../drivers/process/system-user.ts";

/** What is left of an earlier one is nobody's: the owner's socket is ours by now. */
export async function listenForEdge(
  listen: (path: string) => Promise<unknown>,
  path: string,
  isRoot: boolean,
): Promise<void> {
  rmSync(path, { force: true });
  await listen(path);
  chmodSync(path, 0o600);
  const uid = isRoot ? findSystemUser("haproxy")?.uid : undefined;
  if (uid !== undefined) chownSync(path, uid, 0);
}
