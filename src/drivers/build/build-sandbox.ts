// Where one build works: a copy of the source, a home and a /tmp that are its own and gone with it.
// Its commands run as a user of their own in a sandbox that holds nothing else; what they leave is
// taken over once the last of them, with all that it started, has ended. Root touches nothing in it
// while that user can.

import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  statSync,
} from "node:fs";
import { constants } from "node:os";
import { delimiter, join } from "node:path";
import { messageOf } from "../../kernel/error.ts";
import type { BuildResources } from "../../resources/app/manifest.ts";
import { type Argv, run } from "../exec.ts";
import { copyTree, removeTree } from "../files.ts";
import { appCommand, dropTo, SYSTEM_PATH } from "../process/app-user.ts";
import { Cgroup } from "../process/cgroup.ts";
import {
  APP_DIR,
  type Binding,
  killUser,
  maySandbox,
  NODE_DIR,
  OOM_SCORE,
  sandboxed,
} from "../process/sandbox.ts";
import { BuildError } from "./build-error.ts";
import { networkVariables } from "./build-network.ts";
import { chownTree, sealTree } from "./tree.ts";

export interface BuildSandboxOptions {
  /** Holds sandboxes while they are in use. */
  readonly dir: string;
  /** The installation's own folder. */
  readonly home: string;
  /** `production/shop` */
  readonly app: string;
  /** Undefined where we are not root and everything runs as ourselves. */
  readonly uid: number | undefined;
  readonly nodeDir: string;
  readonly resources: BuildResources;
  readonly timeoutMs: number;
  readonly logFile: string;
  readonly signal: AbortSignal;
}

const JOIN_CGROUP = join(import.meta.dirname, "..", "process", "join-cgroup.sh");
const LOW_PRIORITY = ["nice", "-n", "19", "ionice", "-c", "3"];
const HOME = "/home/build";
/** Where a folder of downloads is, while a command may use it. */
const DOWNLOADS = "/run/holdfast/downloads";
const DISK_LOOK_MS = 3_000;
const BLOCK_BYTES = 512;
/** What a build says beyond this is not kept. */
const LOG_MAX_BYTES = 64 * 1024 ** 2;

export class BuildSandbox {
  readonly #options: BuildSandboxOptions;
  readonly #dir: string;
  readonly #cgroup: Cgroup;
  #isHandedOver = false;

  private constructor(options: BuildSandboxOptions, dir: string) {
    this.#options = options;
    this.#dir = dir;
    this.#cgroup = new Cgroup(options.home, `build.${options.app.replace("/", ".")}`);
  }

  static async open(options: BuildSandboxOptions): Promise<BuildSandbox> {
    const sandbox = new BuildSandbox(options, mkdtempSync(join(options.dir, "build-")));
    // Of a build of this app that a killed control plane had begun, something may still run.
    await sandbox.#endAll();
    chmodSync(sandbox.#dir, 0o711);
    for (const folder of ["tree", "home", "tmp", "root"])
      mkdirSync(join(sandbox.#dir, folder), { mode: 0o700 });
    return sandbox;
  }

  /** The app's folder. Ours until it is handed over. */
  get tree(): string {
    return join(this.#dir, "tree");
  }

  /** Copies into the tree, before it is handed over: a folder's content, or a folder or file as `to`. */
  async copy(from: string, to = "."): Promise<void> {
    await copyTree(from, join(this.tree, to));
  }

  /** Runs commands one after the other; throws `BuildError` where one fails. */
  async run(commands: readonly string[], downloads?: string): Promise<void> {
    if (!this.#isHandedOver) await this.#handOver();
    for (const command of commands) await this.#runOne(command, downloads);
  }

  async #handOver(): Promise<void> {
    const { uid } = this.#options;
    this.#isHandedOver = true;
    if (uid === undefined) return;
    for (const folder of ["home", "tmp"]) chownSync(join(this.#dir, folder), uid, uid);
    await chownTree(this.tree, uid);
  }

  /**
   * Closes what is in the tree and gives it as a folder; returns how much was left out, being no file.
   * After commands that is a copy: somebody may have been given a file of the tree, open for writing.
   */
  async takeOver(to: string): Promise<number> {
    const { uid } = this.#options;
    await this.#endAll();
    const left = join(this.#dir, "left");
    renameSync(this.tree, left);
    // Each folder is closed before it is looked into, so that nobody changes what is copied then.
    const leftOut = await sealTree(left, uid);
    if (this.#isHandedOver) await copyTree(left, to);
    else renameSync(left, to);
    return leftOut;
  }

  async close(): Promise<void> {
    await this.#endAll();
    await removeTree(this.#dir);
  }

  async #endAll(): Promise<void> {
    const { uid } = this.#options;
    this.#cgroup.kill();
    if (uid !== undefined) await killUser(uid);
  }

  async #runOne(commandLine: string, downloads: string | undefined): Promise<void> {
    const { timeoutMs, logFile, signal, resources, app } = this.#options;
    const place = await this.#place(downloads);
    const command = appCommand(place.prefix, place.dir, ["/bin/sh", "-c", commandLine], place.env);
    const full = new AbortController();
    const watch = this.#watchDisk(() => full.abort());
    const end = AbortSignal.any([signal, full.signal]);
    try {
      const {
        code,
        signal: endedBy,
        timedOut,
      } = await run(command.argv, {
        cwd: "/",
        env: command.env,
        timeoutMs,
        logFile,
        logMaxBytes: LOG_MAX_BYTES,
        ownGroup: true,
        signal: end,
      });
      if (code === 0) return;
      const what = timedOut
        ? `took longer than ${timeoutMs / 1000} s (build.timeout)`
        : code === undefined
          ? `was ended by ${endedBy ?? "a signal"}`
          : `ended with exit status ${code}${signalOf(code)}`;
      const how = `${what}${timedOut ? "" : this.#wasOutOfMemory(place.oomKillsBefore)}`;
      throw new BuildError(
        `the build failed: "${commandLine}" ${how}`,
        `holdfast logs ${app.split("/")[1]}/build`,
      );
    } catch (error) {
      if (full.signal.aborted)
        throw new BuildError(
          `the build failed: "${commandLine}" wrote more than ${inMegabytes(resources.disk)}, or keeps folders that it may not read itself`,
          "write less, or raise build.resources.disk in holdfast.yaml",
        );
      if (signal.aborted) throw new BuildError("the build was cancelled", "deploy again");
      throw error instanceof BuildError ? error : new Error(messageOf(error), { cause: error });
    } finally {
      watch();
      await this.#endAll();
    }
  }

  #wasOutOfMemory(before: number): string {
    if (this.#cgroup.oomKills() <= before) return "";
    return `, out of memory (build.resources.memory is ${inMegabytes(this.#options.resources.memory)})`;
  }

  async #place(downloads: string | undefined) {
    const { uid, nodeDir, resources, home } = this.#options;
    const at = (folder: string): string => join(this.#dir, folder);
    const isSandboxed = uid !== undefined && (await maySandbox());
    const procs = this.#cgroup.ensure(resources, "low");
    const join_ = ["/bin/sh", JOIN_CGROUP, ...procs, "--"];
    const bindings: readonly Binding[] = [
      { access: "rw", from: this.tree, to: APP_DIR },
      { access: "rw", from: at("home"), to: HOME },
      { access: "ro", from: nodeDir, to: NODE_DIR },
      ...(downloads === undefined
        ? []
        : [{ access: "rw" as const, from: downloads, to: DOWNLOADS }]),
    ];
    const sandbox = isSandboxed
      ? sandboxed({
          mountPoint: at("root"),
          uid,
          oomScore: OOM_SCORE.build,
          tmp: at("tmp"),
          home,
          bindings,
          ownProcesses: true,
        })
      : [];
    const dir = isSandboxed ? APP_DIR : this.tree;
    const node = isSandboxed ? NODE_DIR : nodeDir;
    const homeDir = isSandboxed ? HOME : at("home");
    const cache = isSandboxed ? DOWNLOADS : downloads;
    return {
      prefix: [...LOW_PRIORITY, ...join_, ...sandbox, ...dropTo(uid)],
      dir,
      oomKillsBefore: this.#cgroup.oomKills(),
      env: {
        ...networkVariables(process.env),
        PATH: [
          join(dir, "node_modules", ".bin"),
          join(dir, ".venv", "bin"),
          join(node, "bin"),
          SYSTEM_PATH,
        ].join(delimiter),
        HOME: homeDir,
        TMPDIR: isSandboxed ? "/tmp" : at("tmp"),
        LANG: "C.UTF-8",
        CI: "true",
        npm_config_cache: downloads === undefined ? join(homeDir, ".npm") : cache,
      },
    };
  }

  // Asked as the build's own user, whose folders these are.
  #watchDisk(onFull: () => void): () => void {
    const { uid, resources } = this.#options;
    const folders = ["tree", "home", "tmp"].map((folder) => join(this.#dir, folder));
    const du = [...LOW_PRIORITY, ...dropTo(uid), "du", "-skxc", "--", ...folders];
    let timer: NodeJS.Timeout;
    let isOver = false;
    const look = async (): Promise<void> => {
      const { stdout, stderr } = await run(du as unknown as Argv).catch(() => NOTHING_SAID);
      const kilobytes = Number(/^(\d+)\ttotal$/m.exec(stdout)?.[1] ?? 0);
      const bytes = kilobytes * 1024 + (uid === undefined ? 0 : removedBytesOf(uid));
      if (isOver) return;
      // What it keeps even from itself can't be counted: that is taken for too much.
      if (bytes > resources.disk || /Permission denied/.test(stderr)) onFull();
      else timer = setTimeout(() => void look(), DISK_LOOK_MS);
    };
    timer = setTimeout(() => void look(), DISK_LOOK_MS);
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }
}

const NOTHING_SAID = { stdout: "", stderr: "" };

/** Of files that have no name any more, and that the user's processes still have open. */
function removedBytesOf(uid: number): number {
  const files = new Map<string, number>();
  for (const pid of readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
    try {
      if (statSync(`/proc/${pid}`).uid !== uid) continue;
      for (const fd of readdirSync(`/proc/${pid}/fd`)) {
        const stat = statSync(`/proc/${pid}/fd/${fd}`);
        if (stat.isFile() && stat.nlink === 0) files.set(`${stat.dev} ${stat.ino}`, stat.blocks);
      }
    } catch {
      // It has ended meanwhile, or closed what was to be looked at.
    }
  }
  return [...files.values()].reduce((sum, blocks) => sum + blocks * BLOCK_BYTES, 0);
}

/** As a shell has it: 137 for SIGKILL. */
function signalOf(code: number): string {
  const found = Object.entries(constants.signals).find(([, number]) => number === code - 128);
  return code > 128 && found ? `, ${found[0]}` : "";
}

const inMegabytes = (bytes: number): string => `${Math.round(bytes / 1024 ** 2)} MB`;
