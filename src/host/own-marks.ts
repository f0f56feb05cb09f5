// Processes of an installation by what marks them, whoever knows of them and whatever became of their
// launcher: the variable that each is started with, its control group, and for the stores, which write
// over their variables, the folder they work in.

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename, join } from "node:path";
import { AppUsers, installationId } from "../drivers/process/app-user.ts";
import { DAEMON_MARK } from "../drivers/process/daemon.ts";
import type { Home } from "./home.ts";

export interface OwnedProcess {
  readonly pid: number;
  /** The folder that it was started from, where it still says so. */
  readonly daemon: string | undefined;
  /** Its command line, as it is shown. */
  readonly command: string;
}

const STORES = new Set(["postgres", "redis-server", "redis-check-rdb"]);
const COMMAND_MAX_CHARS = 120;

export function findOwned(home: Home): readonly OwnedProcess[] {
  const apps = new Set(new AppUsers(home.appUsers).all().map(([, uid]) => uid));
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry) && Number(entry) !== process.pid)
    .map(Number)
    .filter((pid) => !isGone(pid))
    .map((pid) => ({ pid, daemon: believed(pid, apps, home), command: commandOf(pid) }))
    .filter((one) => isOwn(one, home));
}

/** An app can say of itself that it is the control plane: it is believed to be an instance only. */
function believed(pid: number, apps: ReadonlySet<number>, home: Home): string | undefined {
  const daemon = daemonOf(pid);
  if (daemon === undefined || !apps.has(uidOf(pid))) return daemon;
  return daemon.startsWith(`${home.instancesDir}/`) ? daemon : undefined;
}

const uidOf = (pid: number): number =>
  Number(/^Uid:\s+(\d+)/m.exec(read(pid, "status"))?.[1] ?? Number.NaN);

const daemonOf = (pid: number): string | undefined =>
  read(pid, "environ")
    .split("\0")
    .find((variable) => variable.startsWith(`${DAEMON_MARK}=`))
    ?.slice(DAEMON_MARK.length + 1);

function isOwn({ pid, daemon }: OwnedProcess, home: Home): boolean {
  if (daemon?.startsWith(`${home.root}/`)) return true;
  if (read(pid, "cgroup").includes(`/holdfast/${installationId(home.root)}.`)) return true;
  return STORES.has(basename(link(pid, "exe"))) && link(pid, "cwd").startsWith(`${home.root}/`);
}

// One that has ended, and whose end nobody has asked for yet.
const isGone = (pid: number): boolean => / [ZX] /.test(read(pid, "stat").replace(/^.*\)/s, ""));

const commandOf = (pid: number): string =>
  read(pid, "cmdline").replaceAll("\0", " ").trim().slice(0, COMMAND_MAX_CHARS) || "(unnamed)";

function read(pid: number, file: string): string {
  try {
    return readFileSync(join("/proc", String(pid), file), "utf8");
  } catch {
    return "";
  }
}

function link(pid: number, file: string): string {
  try {
    return readlinkSync(join("/proc", String(pid), file));
  } catch {
    return "";
  }
}
