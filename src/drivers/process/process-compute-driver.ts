// Instances as supervised processes on this machine: nothing to install. They outlive the control
// plane and are known by a folder each, so a new one adopts them. As root each app runs under its
// own user id, in control groups, with a /tmp of its own and no way back to more rights; otherwise
// as the user who runs Holdfast.

import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statSync,
  watch,
} from "node:fs";
import { delimiter, dirname, join } from "node:path";
import type { Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Clock, sleep } from "../../kernel/clock.ts";
import { Redacted } from "../../kernel/redacted.ts";
import type { ResourceUse } from "../../kernel/signal.ts";
import type {
  ComputeDriver,
  Instance,
  InstanceExit,
  InstanceSpec,
} from "../../resources/app/app-driver.ts";
import { readJson, writeJson } from "../files.ts";
import { describeLog, endLog } from "../log-source.ts";
import { tailFile } from "../log-tail.ts";
import { type AppUsers, appCommand, dropTo, SYSTEM_PATH } from "./app-user.ts";
import { Cgroup, cgroupVersion } from "./cgroup.ts";
import { Daemon, type DaemonExit } from "./daemon.ts";
import { keepApart, type Reach } from "./firewall.ts";
import { findFreePort, isPortFree } from "./free-port.ts";
import { groupUse } from "./process-groups.ts";
import { APP_DIR, maySandbox, NODE_DIR, OOM_SCORE, sandboxed } from "./sandbox.ts";

export interface ProcessComputeOptions {
  readonly clock: Clock;
  /** Folder of the whole installation: an instance must reach it whatever its /tmp is. */
  readonly root: string;
  /** Holds a folder per owner, in it one per instance. */
  readonly dir: string;
  /** Where an artifact of this digest was put. */
  readonly artifactDir: (digest: string) => string;
  /** Undefined where it is what its digest says; otherwise what is wrong with it. */
  readonly findArtifactFault: (digest: string) => Promise<string | undefined>;
  /** Where output goes, for the log store to collect. */
  readonly logDir: string;
  /** Folder of the Node that apps get; its `bin` is first in their PATH. */
  readonly nodeDir: string;
  readonly users: AppUsers;
  /** Ports of this installation: an app is refused there at once, where it may not go. */
  readonly guardedPorts: () => readonly number[];
  /** What an app, or the builder of one, may reach from here. */
  readonly reachOf: (user: string) => Reach;
  /** Whether the whole installation was being stopped at this time. */
  readonly wasStoppedAt: (at: number) => boolean;
}

interface InstanceRecord {
  readonly spec: Omit<InstanceSpec, "env">;
  readonly port: number | undefined;
  readonly incarnation: number;
  readonly exits: readonly InstanceExit[];
  readonly oomKillsBefore: number;
  readonly stoppingSince?: number;
}

/** Where an instance's command runs, as it is called there. */
interface Place {
  readonly prefix: readonly string[];
  readonly dir: string;
  readonly nodeDir: string;
  readonly tmp: string;
}

const EXITS_KEPT = 10;
const INPUT_WAIT_MS = 60_000;
const LAUNCH_WAIT_MS = 2_000;
const LAUNCH_POLL_MS = 10;
const LOOPBACK = "127.0.0.1";

export class ProcessComputeDriver implements ComputeDriver {
  readonly #options: ProcessComputeOptions;
  #firewall: Promise<unknown> = Promise.resolve();
  /** Of those that are to be fed. */
  readonly #inputs = new Map<string, Writable>();

  constructor(options: ProcessComputeOptions) {
    this.#options = options;
    mkdirSync(options.dir, { recursive: true, mode: 0o711 });
  }

  async localhost(): Promise<string> {
    return LOOPBACK;
  }

  async list(owner: string): Promise<readonly Instance[]> {
    const names = existsSync(join(this.#options.dir, owner))
      ? readdirSync(join(this.#options.dir, owner))
      : [];
    return names.flatMap((name) => this.#read(owner, name) ?? []);
  }

  async start(spec: InstanceSpec): Promise<void> {
    const dir = this.#dirOf(spec.owner, spec.name);
    const daemon = new Daemon(join(dir, "run"));
    const now = this.#options.clock.now();
    const state = daemon.observe(now);
    if (state.state === "running") return;
    if (state.state === "exited" && spec.labels.role === "task") return;
    const before = readJson<InstanceRecord>(join(dir, "instance.json"));
    const cgroup = this.#cgroup(spec.name);
    const port = await this.#choosePort(spec, before);
    const record: InstanceRecord = {
      spec: withoutEnv(spec),
      port: port.port,
      incarnation: (before?.incarnation ?? 0) + 1,
      exits: this.#exitsAfter(
        before,
        state.state === "exited" ? this.#exitOf(before, cgroup, state.exit) : undefined,
      ),
      oomKillsBefore: cgroup.oomKills(),
    };
    mkdirSync(dir, { recursive: true, mode: 0o711 });
    writeJson(join(dir, "instance.json"), record);
    if (port.conflict !== undefined) return daemon.recordFailedStart(port.conflict, now);
    const fault = await this.#options.findArtifactFault(spec.artifact.digest);
    if (fault !== undefined) return daemon.recordFailedStart(fault, now);
    // What got away from its group, or whose launcher was killed, must not work beside the new one.
    cgroup.kill();
    const place = await this.#place(spec);
    const stdin = daemon.start(
      {
        ...appCommand(
          place.prefix,
          place.dir,
          commandArgv(spec.command),
          this.#environment(spec, record, place),
        ),
        cwd: "/",
        logFile: this.#openLog(spec, record),
        cgroupProcs: cgroup.ensure(spec.resources),
        takesInput: spec.takesInput ?? false,
      },
      now,
    );
    if (stdin) this.#holdInput(spec.name, stdin);
  }

  async feed(_owner: string, name: string, input: AsyncIterable<Uint8Array>): Promise<void> {
    const stdin = this.#inputs.get(name);
    if (!stdin) return;
    this.#inputs.delete(name);
    await pipeline(input, stdin).catch((error: unknown) => {
      // It ended without having read all of it, which is its own affair.
      if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error;
    });
  }

  // Whoever promised to feed it may have gone.
  #holdInput(name: string, stdin: Writable): void {
    this.#inputs.set(name, stdin);
    setTimeout(() => {
      if (this.#inputs.get(name) !== stdin) return;
      this.#inputs.delete(name);
      stdin.end();
    }, INPUT_WAIT_MS).unref();
  }

  async terminate(owner: string, name: string): Promise<void> {
    this.#markStopping(owner, name);
    (await this.#launched(owner, name)).signal("SIGTERM");
  }

  async kill(owner: string, name: string): Promise<void> {
    this.#markStopping(owner, name);
    (await this.#launched(owner, name)).kill();
  }

  async remove(owner: string, name: string): Promise<void> {
    const dir = this.#dirOf(owner, name);
    const daemon = new Daemon(join(dir, "run"));
    if (daemon.observe(this.#options.clock.now()).state === "running") return;
    const record = readJson<InstanceRecord>(join(dir, "instance.json"));
    if (record) endLog(this.#logFile(record));
    this.#cgroup(name).kill();
    this.#cgroup(name).remove();
    rmSync(dir, { recursive: true, force: true });
    try {
      rmdirSync(dirname(dir));
    } catch {
      // Others of this owner are still there.
    }
  }

  async tail(owner: string, name: string, maxLines: number): Promise<readonly string[]> {
    const record = readJson<InstanceRecord>(join(this.#dirOf(owner, name), "instance.json"));
    return record ? tailFile(this.#logFile(record), maxLines) : [];
  }

  async usage(owner: string, name: string): Promise<ResourceUse | undefined> {
    const { pid } = new Daemon(join(this.#dirOf(owner, name), "run"));
    if (pid === undefined) return undefined;
    // Without a control group: what is still in the process group that it began.
    return this.#cgroup(name).usage() ?? groupUse(pid, this.#options.clock.now());
  }

  /** Calls back with the app whose instance ended. A hint only: whoever misses it looks later. */
  watch(onEnd: (appName: string) => void): () => void {
    const watcher = watch(this.#options.dir, { recursive: true }, (_event, file) => {
      const [owner, name, run, what] = String(file).split("/");
      if (run !== "run" || what !== "exit" || !owner || !name) return;
      const record = readJson<InstanceRecord>(join(this.#dirOf(owner, name), "instance.json"));
      if (record) onEnd(record.spec.appName);
    });
    watcher.on("error", () => undefined);
    return () => watcher.close();
  }

  // A signal that comes before the command has begun would reach nobody.
  async #launched(owner: string, name: string): Promise<Daemon> {
    const daemon = new Daemon(join(this.#dirOf(owner, name), "run"));
    const { clock } = this.#options;
    for (let waited = 0; waited < LAUNCH_WAIT_MS; waited += LAUNCH_POLL_MS) {
      if (daemon.observe(clock.now()).state !== "running" || daemon.pid !== undefined) break;
      await sleep(clock, LAUNCH_POLL_MS);
    }
    return daemon;
  }

  #cgroup(name: string): Cgroup {
    return new Cgroup(this.#options.root, name);
  }

  #dirOf(owner: string, name: string): string {
    return join(this.#options.dir, owner, name);
  }

  #read(owner: string, name: string): Instance | undefined {
    const dir = this.#dirOf(owner, name);
    const record = readJson<InstanceRecord>(join(dir, "instance.json"));
    if (!record) return undefined;
    const state = new Daemon(join(dir, "run")).observe(this.#options.clock.now());
    if (state.state === "none") return undefined;
    const exit =
      state.state === "exited" ? this.#exitOf(record, this.#cgroup(name), state.exit) : undefined;
    return {
      name,
      owner,
      labels: record.spec.labels,
      state: state.state,
      address: record.port === undefined ? undefined : { host: LOOPBACK, port: record.port },
      startedAt: state.startedAt,
      stoppingSince: record.stoppingSince,
      exit,
      exits: this.#exitsAfter(record, exit),
    };
  }

  #exitOf(record: InstanceRecord | undefined, cgroup: Cgroup, exit: DaemonExit): InstanceExit {
    const limit = record?.spec.resources.memory;
    if (exit.signal !== "SIGKILL" || cgroup.oomKills() <= (record?.oomKillsBefore ?? 0))
      return exit;
    const megabytes = limit === undefined ? "" : ` (limit ${Math.round(limit / 1024 ** 2)} MB)`;
    return { ...exit, detail: `out of memory${megabytes}` };
  }

  // An end nobody saw (a reboot), or that all of them met, says nothing about the app.
  #exitsAfter(
    record: InstanceRecord | undefined,
    exit: InstanceExit | undefined,
  ): readonly InstanceExit[] {
    const before = record?.exits ?? [];
    const counts =
      exit !== undefined &&
      exit.at > 0 &&
      record?.stoppingSince === undefined &&
      !this.#options.wasStoppedAt(exit.at);
    return counts ? [...before, exit].slice(-EXITS_KEPT) : before;
  }

  #markStopping(owner: string, name: string): void {
    const path = join(this.#dirOf(owner, name), "instance.json");
    const record = readJson<InstanceRecord>(path);
    if (!record || record.stoppingSince !== undefined) return;
    writeJson(path, { ...record, stoppingSince: this.#options.clock.now() });
  }

  async #choosePort(
    spec: InstanceSpec,
    before: InstanceRecord | undefined,
  ): Promise<{ port: number | undefined; conflict?: string }> {
    if (spec.port === undefined) return { port: undefined };
    if (spec.port > 0) {
      if (await isPortFree(spec.port)) return { port: spec.port };
      const conflict = `port ${spec.port} is in use; let it listen on $PORT, so that instances and releases can run side by side`;
      return { port: spec.port, conflict };
    }
    if (before?.port !== undefined && (await isPortFree(before.port))) return { port: before.port };
    return { port: await findFreePort(this.#takenPorts(), spec.name + this.#options.dir) };
  }

  #takenPorts(): Set<number> {
    return new Set(this.#records().flatMap(({ port }) => port ?? []));
  }

  #records(): InstanceRecord[] {
    const { dir } = this.#options;
    return readdirSync(dir).flatMap((owner) =>
      readdirSync(join(dir, owner)).flatMap(
        (name) => readJson<InstanceRecord>(join(dir, owner, name, "instance.json")) ?? [],
      ),
    );
  }

  /** Draws the packet filter again: ports that apps may not reach have come. */
  keepApart(): Promise<unknown> {
    // One after the other: a table that was drawn up earlier must not replace a later one.
    this.#firewall = this.#firewall.then(() => {
      const { users, reachOf, guardedPorts, root } = this.#options;
      const ports = this.#records().flatMap(({ spec, port }) => {
        const uid = users.uidOf(spec.appName);
        return uid === undefined || port === undefined ? [] : { uid, port };
      });
      // Also those of which nothing runs yet: their builds do.
      const admitted = users.all().map(([user, uid]) => ({
        uid,
        ports: ports.filter((one) => one.uid === uid).map(({ port }) => port),
        ...reachOf(user),
      }));
      return keepApart(root, admitted, guardedPorts());
    });
    return this.#firewall;
  }

  #environment(spec: InstanceSpec, record: InstanceRecord, place: Place): NodeJS.ProcessEnv {
    const given = Object.fromEntries(
      Object.entries(spec.env).map(([key, value]) => [
        key,
        value instanceof Redacted ? value.reveal() : value,
      ]),
    );
    return {
      PATH: [
        join(place.dir, "node_modules", ".bin"),
        join(place.dir, ".venv", "bin"),
        join(place.nodeDir, "bin"),
        SYSTEM_PATH,
      ].join(delimiter),
      HOME: place.tmp,
      TMPDIR: place.tmp,
      LANG: "C.UTF-8",
      HOST: LOOPBACK,
      ...given,
      ...(record.port !== undefined && { PORT: String(record.port) }),
    };
  }

  async #place(spec: InstanceSpec): Promise<Place> {
    const { root, users, nodeDir, artifactDir } = this.#options;
    const dir = this.#dirOf(spec.owner, spec.name);
    const artifact = artifactDir(spec.artifact.digest);
    const uid = users.uidOf(spec.appName);
    if (uid !== undefined) await this.keepApart();
    if (uid === undefined || !(await maySandbox()))
      return { prefix: dropTo(uid), dir: artifact, nodeDir, tmp: this.#freshTmp(dir, uid) };
    const mountPoint = join(dir, "root");
    mkdirSync(mountPoint, { recursive: true, mode: 0o711 });
    const sandbox = sandboxed({
      mountPoint,
      uid,
      oomScore: OOM_SCORE.instance,
      tmp: spec.resources.disk,
      home: root,
      bindings: [
        { access: "ro", from: artifact, to: APP_DIR },
        { access: "ro", from: nodeDir, to: NODE_DIR },
      ],
    });
    return { prefix: [...sandbox, ...dropTo(uid)], dir: APP_DIR, nodeDir: NODE_DIR, tmp: "/tmp" };
  }

  // Fresh at every start: nothing that an earlier incarnation left there is followed by us.
  #freshTmp(dir: string, uid: number | undefined): string {
    const tmp = join(dir, "tmp");
    rmSync(tmp, { recursive: true, force: true });
    mkdirSync(tmp, { recursive: true, mode: 0o700 });
    if (uid === undefined) return tmp;
    for (const folder of [dirname(dirname(dir)), dirname(dir), dir]) chmodSync(folder, 0o711);
    chownSync(tmp, uid, uid);
    return tmp;
  }

  #logFile({ spec, incarnation }: InstanceRecord): string {
    return join(this.#options.logDir, `${spec.name}~${spec.owner.slice(0, 8)}.${incarnation}.log`);
  }

  #openLog(spec: InstanceSpec, record: InstanceRecord): string {
    const file = this.#logFile(record);
    const { component, release, role } = spec.labels;
    describeLog(file, {
      app: spec.appName,
      service: component,
      release,
      instance: spec.name,
      role,
    });
    if (record.incarnation > 1) {
      endLog(this.#logFile({ ...record, incarnation: record.incarnation - 1 }));
    }
    return file;
  }
}

/** Words that only a shell knows: there is no program of that name to become. */
const BUILTINS = new Set(
  ". : alias bg break cd command continue eval exec exit export fg getopts hash jobs read readonly return set shift source times trap type ulimit umask unalias unset wait".split(
    " ",
  ),
);
const SIMPLE_COMMAND = /^[\w./@%+:,-]+( [\w./@%+=:,-]+)*$/;

/**
 * A simple command replaces the shell. Otherwise the shell stays until what it started has ended:
 * without the trap it would end at the first SIGTERM and leave the app behind.
 */
export function commandArgv(command: string): readonly string[] {
  const isSimple = SIMPLE_COMMAND.test(command) && !BUILTINS.has(command.split(" ")[0] ?? "");
  return ["/bin/sh", "-c", isSimple ? `exec ${command}` : `trap : TERM INT HUP\n${command}`];
}

function withoutEnv(spec: InstanceSpec): Omit<InstanceSpec, "env"> {
  const { env: _, ...rest } = spec;
  return rest;
}

/** What this machine can enforce, for `doctor`. */
export async function describeIsolation(
  dir: string,
): Promise<{ readonly ok: boolean; readonly detail: string }> {
  if (process.getuid?.() !== 0) {
    return { ok: true, detail: "not root: apps run as the current user, without limits" };
  }
  const version = cgroupVersion();
  const limits =
    version === undefined
      ? "no control groups: limits are not enforced"
      : `limits by cgroup v${version}`;
  if (await maySandbox())
    return { ok: version !== undefined, detail: `own user id and sandbox per instance, ${limits}` };
  for (let at = dir; at !== "/"; at = dirname(at)) {
    if (existsSync(at) && (statSync(at).mode & 0o001) === 0) {
      return {
        ok: false,
        detail: `${at} can't be entered by the apps' own users; chmod o+x ${at}, or set HOLDFAST_HOME elsewhere`,
      };
    }
  }
  return {
    ok: false,
    detail: `no namespaces here (an unprivileged container?): apps and builds see the machine's files and processes; own user id per app, ${limits}`,
  };
}
