// Holdfast's own processes: the control plane and telemetry. Each is kept running by a small loop
// that outlives whoever started it.

import { existsSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import type { Config } from "../config.ts";
import { type Argv, run } from "../drivers/exec.ts";
import { readJson, writeJson } from "../drivers/files.ts";
import { tailFile } from "../drivers/log-tail.ts";
import { Daemon } from "../drivers/process/daemon.ts";
import { groupUse } from "../drivers/process/process-groups.ts";
import { findSystemUser } from "../drivers/process/system-user.ts";
import { sleep, systemClock } from "../kernel/clock.ts";
import { stuck, transient } from "../kernel/error.ts";
import { type Home, REQUEST_SOCKET_FD } from "./home.ts";

export type OwnProcess = "control-plane" | "telemetry";

export interface ControlPlaneRecord {
  readonly pid: number;
  readonly checkout: string;
  readonly version: string;
  /** What it was started with. */
  readonly apiHost?: string;
  readonly trustedProxies?: readonly string[];
}

const CHECKOUT = join(import.meta.dirname, "..", "..");
const KEEP_RUNNING = join(import.meta.dirname, "keep-running.sh");
const HOLD_SOCKET = join(import.meta.dirname, "hold-socket.pl");
/** Of `perl-base`, which no Debian is without. */
const PERL = "/usr/bin/perl";
/** A start takes as long as it takes while the process works; this long without work it has failed. */
const STALLED_MS = 30_000;
/** CPU time that counts as work, also on a machine that gives little of it. */
const WORK_CPU_S = 0.3;
const START_MAX_MS = 15 * 60_000;
const STOP_TIMEOUT_MS = 30_000;
const POLL_MS = 40;

const SCRIPTS: Readonly<Record<OwnProcess, string>> = {
  "control-plane": "control-plane.ts",
  telemetry: "telemetry.ts",
};

// Where there is too little of the machine the edge and the apps come first: what they said waits
// in the edge's ring and in files, and is taken in later.
const NICENESS: Readonly<Record<OwnProcess, number>> = { "control-plane": 0, telemetry: 5 };

export function isRunning(home: Home, name: OwnProcess): boolean {
  return daemonOf(home, name).observe(systemClock.now()).state === "running";
}

export function runsForMs(home: Home, name: OwnProcess): number {
  const now = systemClock.now();
  const seen = daemonOf(home, name).observe(now);
  return seen.state === "running" ? now - seen.startedAt : 0;
}

/** A killed predecessor leaves its socket behind; one that answers is alive, and stays. */
export async function takeOverSocket(path: string): Promise<void> {
  const answers = await new Promise<boolean>((resolve) => {
    const socket = connect(path);
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
  if (answers)
    throw stuck(
      "control_plane.runs",
      `a control plane of this installation runs already (${path})`,
      { hint: "holdfast status" },
    );
  rmSync(path, { force: true });
}

// Left to itself V8 lets short-lived objects pile up to 30 MB and more before it looks; what these
// processes do between two looks fits in 2 MB (bench/deploy.ts: 182 MB at rest without, 137 with).
const YOUNG_GENERATION = "--max-semi-space-size=2";

const scriptFile = (name: string): string => join(CHECKOUT, "src", "bin", name);
const compileCache = (home: Home): string => join(home.root, "compile-cache");

/**
 * Has another process translate what ours will load, once: the translator would stay in their
 * memory (30 MB) until they start again. Without it they start as well, only larger.
 */
export async function compileOnce(home: Home): Promise<void> {
  if (existsSync(compileCache(home))) return;
  // Half of one, of a start that was killed, is never met: it gets its name when it is whole.
  const fresh = `${compileCache(home)}.new`;
  rmSync(fresh, { recursive: true, force: true });
  const imports = Object.values(SCRIPTS).map(
    (name) => `import ${JSON.stringify(scriptFile(name))};`,
  );
  const env = { ...process.env, NODE_COMPILE_CACHE: fresh };
  const timeoutMs = START_MAX_MS;
  await run([process.execPath, "--input-type=module", "--eval", imports.join("")], {
    env,
    timeoutMs,
  });
  if (existsSync(fresh)) renameSync(fresh, compileCache(home));
}

// The edge's records come in here. It is there before telemetry is, and while that starts again.
function holdRequestSocket(home: Home): Argv {
  const isRoot = process.getuid?.() === 0;
  const owner = isRoot ? findSystemUser("haproxy")?.uid : undefined;
  return [PERL, HOLD_SOCKET, home.requestSocket, String(owner ?? -1)];
}

/** Starts it where it does not run. */
export function startOwn(home: Home, name: OwnProcess): void {
  if (isRunning(home, name)) return;
  const logFile = home.logFile(`engine.${name}`);
  rmSync(stopFile(home, name), { force: true });
  rmSync(join(home.runDir, `${name}-failure.json`), { force: true });
  writeJson(`${logFile}.json`, {
    app: `engine/${name}`,
    service: name,
    release: 0,
    instance: name,
    role: "engine",
  });
  const holder = name === "telemetry" && existsSync(PERL) ? holdRequestSocket(home) : undefined;
  const loop: Argv = ["/bin/sh", KEEP_RUNNING, stopFile(home, name)];
  daemonOf(home, name).start(
    {
      argv: [
        ...(holder ? ([...holder, ...loop] as const) : loop),
        ...["nice", "-n", String(NICENESS[name])],
        process.execPath,
        "--disable-warning=ExperimentalWarning",
        YOUNG_GENERATION,
        scriptFile(SCRIPTS[name]),
      ],
      cwd: "/",
      env: {
        ...process.env,
        HOLDFAST_HOME: home.root,
        NODE_COMPILE_CACHE: compileCache(home),
        ...(holder && { [REQUEST_SOCKET_FD]: "3" }),
      },
      logFile,
    },
    systemClock.now(),
  );
}

/** Ends it in good order. */
export async function stopOwn(home: Home, name: OwnProcess): Promise<boolean> {
  if (!isRunning(home, name)) return false;
  const daemon = daemonOf(home, name);
  writeFileSync(stopFile(home, name), "");
  daemon.signal("SIGTERM");
  const deadline = systemClock.now() + STOP_TIMEOUT_MS;
  while (isRunning(home, name)) {
    if (systemClock.now() > deadline) daemon.kill();
    await sleep(systemClock, POLL_MS);
  }
  return true;
}

/** Waits until the socket answers; throws with what the process said on its way out. */
export async function untilReady(
  home: Home,
  name: OwnProcess,
  isReady: () => Promise<boolean>,
): Promise<void> {
  const isStalled = stallOf(daemonOf(home, name));
  while (!(await isReady())) {
    const failure = readJson<{ code: string; message: string; hint?: string }>(
      join(home.runDir, `${name}-failure.json`),
    );
    if (failure) throw stuck(failure.code, failure.message, { hint: failure.hint });
    if (isStalled()) {
      const lines = tailFile(home.logFile(`engine.${name}`), 5);
      throw transient(
        `${name}.not_ready`,
        `the ${name} process did not become ready: ${lines.join(" | ")}`,
        {
          hint: `look into ${home.logFile(`engine.${name}`)}`,
        },
      );
    }
    await sleep(systemClock, POLL_MS);
  }
}

/** Whether a process that is to start has not worked for long. */
function stallOf(daemon: Daemon): () => boolean {
  const end = systemClock.now() + START_MAX_MS;
  let worked = { at: systemClock.now(), cpuSeconds: 0 };
  return () => {
    const now = systemClock.now();
    const cpuSeconds = (daemon.pid && groupUse(daemon.pid, now)?.cpuSeconds) || 0;
    // Less than before: it began anew.
    if (Math.abs(cpuSeconds - worked.cpuSeconds) > WORK_CPU_S) worked = { at: now, cpuSeconds };
    return now > end || now - worked.at > STALLED_MS;
  };
}

export const controlPlaneRecord = (home: Home): ControlPlaneRecord | undefined =>
  readJson<ControlPlaneRecord>(join(home.runDir, "control-plane.json"));

/**
 * True where the running control plane is of another checkout or version than this one, or was started
 * with something else than is said now. What is not said stays as it is.
 */
export function isOutdated(
  home: Home,
  version: string,
  { apiHost, trustedProxies }: Pick<Config, "apiHost" | "trustedProxies">,
): boolean {
  const record = controlPlaneRecord(home);
  if (record === undefined) return false;
  const isOther =
    record.checkout !== CHECKOUT || record.version !== version || !existsSync(record.checkout);
  const known = record.trustedProxies ?? [];
  return (
    isOther ||
    (apiHost !== undefined && apiHost !== record.apiHost) ||
    (trustedProxies.length > 0 && trustedProxies.join() !== known.join())
  );
}

const daemonOf = (home: Home, name: OwnProcess): Daemon => new Daemon(join(home.runDir, name));
const stopFile = (home: Home, name: OwnProcess): string => join(home.runDir, `${name}.stop`);
