// Engines that refuse to run as root, or should not, run as the system user that their Debian
// package made. Started by an ordinary user they run as that user.

import { chownSync } from "node:fs";
import { stuck } from "../../kernel/error.ts";
import { readText } from "../files.ts";

export interface SystemUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** Undefined where we are not root and everything runs as ourselves. */
export function findSystemUser(name: string): SystemUser | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const line = (readText("/etc/passwd") ?? "")
    .split("\n")
    .find((one) => one.startsWith(`${name}:`));
  const [, , uid, gid] = line?.split(":") ?? [];
  if (uid === undefined || gid === undefined) {
    throw stuck("user.missing", `there is no system user ${name}`, {
      hint: `it comes with the Debian package; install that again, or: useradd --system ${name}`,
    });
  }
  return { name, uid: Number(uid), gid: Number(gid) };
}

/** Prefix of a command that runs it as the user. */
export function asUser(user: SystemUser | undefined): readonly string[] {
  if (!user) return [];
  return [
    "setpriv",
    "--reuid",
    user.name,
    "--regid",
    String(user.gid),
    "--init-groups",
    "--no-new-privs",
    "--",
  ];
}

export function giveTo(user: SystemUser | undefined, ...paths: readonly string[]): void {
  if (user) for (const path of paths) chownSync(path, user.uid, user.gid);
}
