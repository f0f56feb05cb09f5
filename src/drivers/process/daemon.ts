// One supervised process on this machine, known by files in a folder: who runs, and how it ended.
// The folder is all that a new control plane needs to adopt it. Both the instances of apps and the
// engines are daemons.

import { mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { type Argv, startDetached } from "../exec.ts";
import { bootId, readJson, readText, writeJson } from "../files.ts";

const LAUNCHER = fileURLToPath(new URL("launch.sh", import.meta.url));

/** A folder without a launcher after this long, also on a slow machine: the start was lost on the way. */
const START_LOST_AFTER_MS = 30_000;

/** A variable of whatever we start, with the folder that it is known by: nobody else's has it. */
export const DAEMON_MARK = "HOLDFAST_DAEMON";

export interface DaemonExit {
  readonly at: number;
  readonly code: number | undefined;
  readonly signal: string | undefined;
  readonly detail?: string;
}

export type DaemonState =
  | { readonly state: "none" }
  | { readonly state: "running"; readonly startedAt: number; readonly pid: number }
  | { readonly state: "exited"; readonly startedAt: number; readonly exit: DaemonExit };

export interface DaemonStart {
  readonly argv: Argv;
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  readonly logFile: string;
  /** Control groups to join: their `cgroup.procs` files. */
  readonly cgroupProcs?: readonly string[];
  readonly takesInput?: boolean;
}

interface StartRecord {
  readonly startedAt: number;
  readonly bootId: string;
}

const SIGNAL_NAMES: Readonly<Record<number, string>> = {
  1: "SIGHUP",
  2: "SIGINT",
  6: "SIGABRT",
  9: "SIGKILL",
  11: "SIGSEGV",
  15: "SIGTERM",
};

export class Daemon {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  observe(now: number): DaemonState {
    const record = readJson<StartRecord>(join(this.#dir, "start.json"));
    if (!record) return { state: "none" };
    const { startedAt } = record;
    const exit = this.#readExit();
    if (exit) return { state: "exited", startedAt, exit };
    const launcher = this.#readStat("launcher");
    if (record.bootId !== bootId()) return lost(startedAt, "the machine was restarted");
    if (!launcher) {
      if (now - startedAt < START_LOST_AFTER_MS) return { state: "running", startedAt, pid: 0 };
      return lost(startedAt, "it could not be started");
    }
    if (isAlive(launcher)) return { state: "running", startedAt, pid: launcher.pid };
    // Its launcher was killed, as the kernel does when memory is short: it runs all the same.
    const child = this.pid;
    if (child !== undefined) return { state: "running", startedAt, pid: child };
    return lost(startedAt, "its end was not seen");
  }

  /** Gives its standard input where it takes one, for as long as we live. */
  start(start: DaemonStart, now: number): Writable | undefined {
    this.kill();
    mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
    for (const file of ["exit", "launcher", "child", "failed-start.json"])
      rmSync(join(this.#dir, file), { force: true });
    writeJson(join(this.#dir, "start.json"), { startedAt: now, bootId: bootId() });
    mkdirSync(dirname(start.logFile), { recursive: true });
    const argv: Argv = [
      "/bin/sh",
      LAUNCHER,
      this.#dir,
      ...(start.cgroupProcs ?? []),
      "--",
      ...start.argv,
    ];
    const env = { ...start.env, [DAEMON_MARK]: this.#dir };
    return startDetached(argv, { ...start, env }).stdin ?? undefined;
  }

  /** An end that happened before there was a process: what stood in the way. */
  recordFailedStart(detail: string, now: number): void {
    mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
    writeJson(join(this.#dir, "start.json"), { startedAt: now, bootId: bootId() });
    writeJson(join(this.#dir, "failed-start.json"), { at: now, detail });
  }

  /** The process itself, not its launcher; undefined where it does not run. */
  get pid(): number | undefined {
    const child = this.#readStat("child");
    return child && isAlive(child) ? child.pid : undefined;
  }

  /** A signal for the command and everything in its process group. */
  signal(signal: NodeJS.Signals): void {
    const child = this.#readStat("child");
    if (!child || !isAlive(child)) return;
    if (!trySignal(-child.pid, signal)) trySignal(child.pid, signal);
  }

  /** A signal for the command alone. */
  signalChild(signal: NodeJS.Signals): void {
    const child = this.#readStat("child");
    if (child && isAlive(child)) trySignal(child.pid, signal);
  }

  /** SIGKILL for the whole group; the launcher stays to note the end, and ends what got away. */
  kill(): void {
    this.signal("SIGKILL");
  }

  forget(): void {
    rmSync(this.#dir, { recursive: true, force: true });
  }

  #readExit(): DaemonExit | undefined {
    const failed = readJson<{ at: number; detail: string }>(join(this.#dir, "failed-start.json"));
    if (failed) return { at: failed.at, code: undefined, signal: undefined, detail: failed.detail };
    const text = readText(join(this.#dir, "exit"));
    const [status, at] = (text ?? "").trim().split(" ").map(Number);
    if (text === undefined || status === undefined || at === undefined) return undefined;
    if (status <= 128) return { at, code: status, signal: undefined };
    return { at, code: undefined, signal: SIGNAL_NAMES[status - 128] ?? `signal ${status - 128}` };
  }

  #readStat(file: string): ProcessIdentity | undefined {
    const text = readText(join(this.#dir, file));
    return text === undefined ? undefined : parseStat(text);
  }
}

const lost = (startedAt: number, detail: string): DaemonState => ({
  state: "exited",
  startedAt,
  exit: { at: 0, code: undefined, signal: undefined, detail },
});

interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: string;
  readonly state: string;
}

// `pid (name) state ppid pgrp … starttime`: the name may hold spaces and parentheses.
function parseStat(text: string): ProcessIdentity | undefined {
  const end = text.lastIndexOf(")");
  const fields = text.slice(end + 2).split(" ");
  const pid = Number(text.slice(0, text.indexOf(" ")));
  const startTicks = fields[19];
  if (end < 0 || !Number.isInteger(pid) || startTicks === undefined) return undefined;
  return { pid, startTicks, state: fields[0] ?? "" };
}

function isAlive(identity: ProcessIdentity): boolean {
  const text = readText(`/proc/${identity.pid}/stat`);
  const now = text === undefined ? undefined : parseStat(text);
  return now?.startTicks === identity.startTicks && now.state !== "Z" && now.state !== "X";
}

/** False where nobody was there to get it: it ended between the look and the signal. */
function trySignal(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    return false;
  }
}
