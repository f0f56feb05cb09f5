// The processes of HAProxy: a master, the worker that serves, and those that made way for it and live on
// for their long connections.

import { type Clock, sleep } from "../../kernel/clock.ts";
import { transient } from "../../kernel/error.ts";
import { readText } from "../files.ts";
import type { RuntimeApi } from "./runtime-api.ts";

const RELOAD_AGAIN_MS = 2_500;
export const RELOAD_TIMEOUT_MS = 10_000;
const LOOK_MS = 50;

export class HaproxyWorkers {
  readonly #clock: Clock;
  readonly #master: RuntimeApi;
  readonly #api: RuntimeApi;

  constructor(clock: Clock, master: RuntimeApi, api: RuntimeApi) {
    this.#clock = clock;
    this.#master = master;
    this.#api = api;
  }

  /** A new worker with what is on disk; the one before ends with its last connection. */
  async reload(): Promise<void> {
    const pidBefore = await this.#serving();
    const deadline = this.#clock.now() + RELOAD_TIMEOUT_MS;
    let askedAt = Number.NEGATIVE_INFINITY;
    while (this.#clock.now() < deadline) {
      // The master starts itself again for each reload; one that is asked for meanwhile can be lost.
      if (this.#clock.now() - askedAt > RELOAD_AGAIN_MS) {
        await this.#master.ask("reload").catch(() => undefined);
        askedAt = this.#clock.now();
      }
      const pid = await this.#serving();
      if (pid !== undefined && pid !== pidBefore) return;
      await sleep(this.#clock, LOOK_MS);
    }
    throw transient(
      "edge.reload_failed",
      "HAProxy did not take over the new configuration in time",
      { hint: "holdfast logs --engine edge" },
    );
  }

  /** What lives on of earlier configurations, in words; undefined where nothing does. */
  async describeEarlier(): Promise<string | undefined> {
    const processes = await this.#master.ask("show proc").catch(() => "");
    const pids = earlierWorkers(processes);
    if (pids.length === 0) return undefined;
    const bytes = pids.reduce((sum, pid) => sum + memoryOf(pid), 0);
    return `long connections live on in ${pids.length} earlier worker${pids.length === 1 ? "" : "s"}, ${Math.ceil(bytes / 1_048_576)} MB`;
  }

  async #serving(): Promise<string | undefined> {
    const info = await this.#api.ask("show info").catch(() => "");
    return /^Pid: (\d+)$/m.exec(info)?.[1];
  }
}

/** Their process ids, of what the master says of its processes. */
function earlierWorkers(processes: string): number[] {
  const [, earlier = ""] = processes.split("# old workers");
  const [lines = ""] = earlier.split("#");
  return [...lines.matchAll(/^(\d+)\s+worker\b/gm)].map(([, pid]) => Number(pid));
}

function memoryOf(pid: number): number {
  const kilobytes = /^RssAnon:\s+(\d+) kB$/m.exec(readText(`/proc/${pid}/status`) ?? "")?.[1];
  return Number(kilobytes ?? 0) * 1024;
}
