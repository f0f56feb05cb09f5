// An engine as a supervised process: what HAProxy, PostgreSQL and Redis have in common here.

import { basename } from "node:path";
import type { Clock } from "../../kernel/clock.ts";
import { sleep } from "../../kernel/clock.ts";
import type { Argv } from "../exec.ts";
import { describeLog } from "../log-source.ts";
import { tailFile } from "../log-tail.ts";
import { CLEAN_ENV } from "./app-user.ts";
import { Daemon } from "./daemon.ts";

export interface SupervisedEngineOptions {
  readonly clock: Clock;
  /** Where it is noted who runs and how it ended. */
  readonly dir: string;
  readonly logFile: string;
}

export interface EngineProcess {
  readonly running: boolean;
  readonly startedAt: number | undefined;
  readonly endedAt: number | undefined;
  /** Ends in the last minutes that nobody asked for. */
  readonly recentEnds: number;
  readonly detail: string | undefined;
}

const MEMORY_MS = 5 * 60_000;
const STOP_POLL_MS = 50;

export class SupervisedEngine {
  readonly #options: SupervisedEngineOptions;
  readonly #daemon: Daemon;
  #ends: number[] = [];

  constructor(options: SupervisedEngineOptions) {
    this.#options = options;
    this.#daemon = new Daemon(options.dir);
  }

  observe(): EngineProcess {
    const now = this.#options.clock.now();
    const state = this.#daemon.observe(now);
    const startedAt = state.state === "none" ? undefined : state.startedAt;
    if (state.state !== "exited") {
      return {
        running: state.state === "running",
        startedAt,
        endedAt: undefined,
        recentEnds: this.#recent(now),
        detail: undefined,
      };
    }
    const { at, code, signal } = state.exit;
    if (at > 0 && this.#ends.at(-1) !== at) this.#ends.push(at);
    const lastLine = tailFile(this.#options.logFile, 1)[0];
    const how =
      code === undefined
        ? (signal ?? state.exit.detail ?? "its end was not seen")
        : `exit status ${code}`;
    const detail = lastLine === undefined ? how : `${how}: ${lastLine.slice(0, 300)}`;
    return { running: false, startedAt, endedAt: at, recentEnds: this.#recent(now), detail };
  }

  start(argv: Argv, env: NodeJS.ProcessEnv = {}): void {
    const { clock, logFile } = this.#options;
    // `engine.postgres.production.log` → engine/postgres.production
    const name = basename(logFile, ".log").replace(/^engine\./, "");
    const who = { service: name, release: 0, instance: name, role: "engine" };
    describeLog(logFile, { app: `engine/${name}`, ...who });
    this.#daemon.start({ argv, cwd: "/", env: { ...CLEAN_ENV, ...env }, logFile }, clock.now());
  }

  get pid(): number | undefined {
    return this.#daemon.pid;
  }

  signal(signal: NodeJS.Signals): void {
    this.#daemon.signalChild(signal);
  }

  /** Asks it to end and waits; after the timeout it is killed. */
  async stop(signal: NodeJS.Signals, timeoutMs: number): Promise<void> {
    const { clock } = this.#options;
    this.#daemon.signalChild(signal);
    const deadline = clock.now() + timeoutMs;
    while (this.#daemon.observe(clock.now()).state === "running") {
      if (clock.now() > deadline) this.#daemon.kill();
      await sleep(clock, STOP_POLL_MS);
    }
    this.#daemon.forget();
  }

  #recent(now: number): number {
    this.#ends = this.#ends.filter((at) => now - at < MEMORY_MS);
    return this.#ends.length;
  }
}
