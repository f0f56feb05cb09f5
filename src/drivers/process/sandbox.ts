// What an app's own code sees of the machine: a root of its own with the machine's programs
// read-only, its own processes in /proc, a /tmp that ends with it, and what is bound into it. Both
// instances and builds run in one, where Holdfast is root and the kernel gives it namespaces;
// elsewhere they see the machine as their user does, and `doctor` says so.

import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { transient } from "../../kernel/error.ts";
import { type Argv, run } from "../exec.ts";
import { readText } from "../files.ts";
import { CLEAN_ENV, dropTo } from "./app-user.ts";

const SANDBOX = join(import.meta.dirname, "sandbox.sh");

/** Where it finds its own folder, and the Node that Holdfast brings. */
export const APP_DIR = "/app";
export const NODE_DIR = "/run/holdfast/node";

/** Of -1000 to 1000: when memory is short an app ends before an engine, and a build before an app. */
export const OOM_SCORE = { instance: 500, build: 900 } as const;

export interface Binding {
  readonly access: "ro" | "rw";
  readonly from: string;
  readonly to: string;
}

export interface SandboxOptions {
  /** An empty folder of ours to mount on. */
  readonly mountPoint: string;
  readonly uid: number;
  readonly oomScore: number;
  /** Bytes of memory, or a folder of ours. */
  readonly tmp: number | string;
  /** The installation's own folder, which nobody inside sees. */
  readonly home: string;
  readonly bindings: readonly Binding[];
  /** It and all it started end together, and see nobody else, whoever they run as. */
  readonly ownProcesses?: boolean;
}

const UNSHARE = ["unshare", "--mount", "--ipc", "--cgroup", "--propagation", "private"];
const OWN_PROCESSES = ["--pid", "--fork", "--kill-child=SIGKILL"];

/** Prefix of a command, which still has to give up our rights. */
export function sandboxed(options: SandboxOptions): readonly string[] {
  const { mountPoint, uid, oomScore, tmp, home, bindings } = options;
  return [
    ...UNSHARE,
    ...(options.ownProcesses ? OWN_PROCESSES : []),
    "--",
    "/bin/sh",
    SANDBOX,
    mountPoint,
    String(uid),
    String(oomScore),
    String(tmp),
    home,
    ...bindings.flatMap(({ access, from, to }) => [access, from, to]),
    "--",
  ];
}

let canSandbox: Promise<boolean> | undefined;

/** Whether this machine lets us; in an unprivileged container it does not. */
export function maySandbox(): Promise<boolean> {
  if (process.getuid?.() !== 0) return Promise.resolve(false);
  const probe = [...UNSHARE, ...OWN_PROCESSES, "--", "mount", "-t", "proc", "proc", "/proc"];
  canSandbox ??= run(probe as unknown as Argv).then(
    ({ code }) => code === 0,
    () => false,
  );
  return canSandbox;
}

/**
 * Ends every process of a user; returns once there is none. As that user: one signal to all of its
 * processes at once, which nothing can fork away from.
 */
export async function killUser(uid: number): Promise<void> {
  for (let round = 0; round < KILL_ROUNDS; round += 1) {
    if (!runsAnything(uid)) return;
    await run([...dropTo(uid), "/bin/sh", "-c", "kill -KILL -1"] as unknown as Argv, {
      env: CLEAN_ENV,
      cwd: "/",
    });
  }
  throw transient("sandbox.still_running", `processes of the user ${uid} do not end`, {
    hint: `ps -U ${uid}`,
  });
}

const KILL_ROUNDS = 50;

function runsAnything(uid: number): boolean {
  return readdirSync("/proc").some((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      if (statSync(`/proc/${pid}`).uid !== uid) return false;
    } catch {
      return false;
    }
    const stat = readText(`/proc/${pid}/stat`) ?? "";
    return stat !== "" && !/\) [ZX] /.test(stat);
  });
}
