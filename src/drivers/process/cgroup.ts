// Limits for a group of processes, in whichever hierarchy the machine has: v2 (one tree) or v1 (a
// tree per controller). Where we may not write, there are no limits, and `doctor` says so.

import { existsSync, mkdirSync, readdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ResourceUse } from "../../kernel/signal.ts";
import type { Resources } from "../../resources/app/manifest.ts";
import { readText } from "../files.ts";
import { installationId } from "./app-user.ts";

const ROOT = "/sys/fs/cgroup";
const PARENT = "holdfast";
const CPU_PERIOD_US = 100_000;
const V1_CONTROLLERS = ["memory", "cpu", "cpuacct", "pids"] as const;
/** Of 1 to 10000 (v2) and 2 to 262144 (v1): a build gets the CPU that nobody else wants. */
const LOW_WEIGHT_V2 = "10";
const LOW_SHARES_V1 = "20";

export type CgroupVersion = 1 | 2 | undefined;

export function cgroupVersion(): CgroupVersion {
  if (process.getuid?.() !== 0) return undefined;
  if (existsSync(join(ROOT, "cgroup.controllers"))) return 2;
  return V1_CONTROLLERS.every((one) => existsSync(join(ROOT, one, "cgroup.procs"))) ? 1 : undefined;
}

export class Cgroup {
  readonly #folders: readonly string[];
  readonly #version: CgroupVersion;

  constructor(installation: string, instance: string) {
    const name = `${installationId(installation)}.${instance}`;
    this.#version = cgroupVersion();
    const roots = this.#version === 2 ? [ROOT] : V1_CONTROLLERS.map((one) => join(ROOT, one));
    this.#folders =
      this.#version === undefined ? [] : roots.map((root) => join(root, PARENT, name));
  }

  /** Makes the group with these limits. Returns the files a process joins it by. */
  ensure(
    resources: Pick<Resources, "cpu" | "memory" | "processes">,
    priority: "normal" | "low" = "normal",
  ): readonly string[] {
    if (this.#version === 2) this.#enableControllers();
    for (const folder of this.#folders) mkdirSync(folder, { recursive: true });
    const { cpu, memory, processes } = resources;
    const quota = cpu === undefined ? undefined : Math.round(cpu * CPU_PERIOD_US);
    if (this.#version === 2) {
      this.#write("memory.max", String(memory ?? "max"));
      this.#write("memory.swap.max", memory === undefined ? "max" : "0");
      this.#write("cpu.max", `${quota ?? "max"} ${CPU_PERIOD_US}`);
      this.#write("pids.max", String(processes));
      if (priority === "low") this.#write("cpu.weight", LOW_WEIGHT_V2);
    } else {
      this.#write("memory.limit_in_bytes", String(memory ?? -1));
      this.#write("cpu.cfs_period_us", String(CPU_PERIOD_US));
      this.#write("cpu.cfs_quota_us", String(quota ?? -1));
      this.#write("pids.max", String(processes));
      if (priority === "low") this.#write("cpu.shares", LOW_SHARES_V1);
    }
    return this.#folders.map((folder) => join(folder, "cgroup.procs"));
  }

  /** How often the kernel ended a process of the group for want of memory. */
  oomKills(): number {
    const file = this.#version === 2 ? "memory.events" : "memory.oom_control";
    const text = this.#folders.map((folder) => readText(join(folder, file))).find((one) => one);
    return Number(/^oom_kill (\d+)$/m.exec(text ?? "")?.[1] ?? 0);
  }

  /** CPU time and memory of the group; undefined where there is none. Files that the kernel can drop are not counted. */
  usage(): ResourceUse | undefined {
    const read = (file: string): string | undefined =>
      this.#folders.map((folder) => readText(join(folder, file))).find((one) => one);
    const stat = read("memory.stat");
    if (stat === undefined) return undefined;
    const field = (text: string | undefined, name: string): number =>
      Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text ?? "")?.[1] ?? 0);
    const isV2 = this.#version === 2;
    const memory = Number(read(isV2 ? "memory.current" : "memory.usage_in_bytes") ?? 0);
    const droppable = field(stat, isV2 ? "inactive_file" : "total_inactive_file");
    const limit = Number(read(isV2 ? "memory.max" : "memory.limit_in_bytes"));
    const cpuSeconds = isV2
      ? field(read("cpu.stat"), "usage_usec") / 1e6
      : Number(read("cpuacct.usage") ?? 0) / 1e9;
    return {
      cpuSeconds,
      memoryBytes: Math.max(0, memory - droppable),
      ...(limit > 0 && limit < 2 ** 50 && { memoryLimitBytes: limit }),
    };
  }

  /** SIGKILL for whatever is in the group. */
  kill(): void {
    for (const folder of this.#folders) {
      const pids = (readText(join(folder, "cgroup.procs")) ?? "").split("\n").filter(Boolean);
      for (const pid of pids) {
        try {
          process.kill(Number(pid), "SIGKILL");
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
        }
      }
    }
  }

  /** Only an empty group goes; one in use is left for the next call. */
  remove(): void {
    for (const folder of this.#folders) {
      try {
        rmdirSync(folder);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code !== "ENOENT" && code !== "EBUSY") throw error;
      }
    }
  }

  /** Groups of an installation that nothing is in any more. */
  static removeEmpty(installation: string): void {
    const version = cgroupVersion();
    if (version === undefined) return;
    const roots = version === 2 ? [ROOT] : V1_CONTROLLERS.map((one) => join(ROOT, one));
    const [parent] = roots.map((root) => join(root, PARENT)).filter((folder) => existsSync(folder));
    const prefix = `${installationId(installation)}.`;
    for (const name of parent === undefined ? [] : readdirSync(parent))
      if (name.startsWith(prefix)) new Cgroup(installation, name.slice(prefix.length)).remove();
  }

  #enableControllers(): void {
    mkdirSync(join(ROOT, PARENT), { recursive: true });
    for (const folder of [ROOT, join(ROOT, PARENT)]) {
      writeIfAllowed(join(folder, "cgroup.subtree_control"), "+memory +cpu +pids");
    }
  }

  #write(file: string, value: string): void {
    for (const folder of this.#folders) {
      if (existsSync(join(folder, file))) writeIfAllowed(join(folder, file), value);
    }
  }
}

// A controller that this kernel does not offer to us is one limit less, not a failed deploy.
function writeIfAllowed(path: string, value: string): void {
  try {
    writeFileSync(path, value);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (
      !["EACCES", "EPERM", "EINVAL", "ENOENT", "EBUSY", "EOPNOTSUPP", "EROFS"].includes(code ?? "")
    )
      throw error;
  }
}
