// The programs that watch: Prometheus, Alertmanager, the exporter of the machine. Each is a
// supervised process with a few files that say what to do; where those should say something else,
// they are written again and the program reads them.

import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../kernel/clock.ts";
import type { EngineDriver, EngineView } from "../../resources/engine/engine-driver.ts";
import { type Argv, run } from "../exec.ts";
import { readText, writeWhole } from "../files.ts";
import { SupervisedEngine } from "../process/supervised-engine.ts";
import { asUser, findSystemUser, giveTo } from "../process/system-user.ts";

/** One of the programs, as far as they differ. */
export interface MonitoringProgram {
  readonly command: string;
  readonly packages: string;
  /** File name → content; undefined where it has none. */
  readonly files: () => Readonly<Record<string, string>>;
  /** Files with secrets, readable by the program's user only. */
  readonly argv: (dir: string, port: number) => readonly string[];
  /** Answers 200 once it is ready. */
  readonly readyPath: string;
}

export interface MonitoringOptions {
  readonly clock: Clock;
  readonly program: MonitoringProgram;
  readonly dir: string;
  readonly logFile: string;
  readonly port: () => Promise<number>;
}

const HOST = "127.0.0.1";
const STOP_TIMEOUT_MS = 20_000;
const READY_TIMEOUT_MS = 2_000;

export class MonitoringEngineDriver implements EngineDriver {
  readonly #options: MonitoringOptions;
  readonly #engine: SupervisedEngine;
  #version: Promise<string | undefined> | undefined;

  constructor(options: MonitoringOptions) {
    this.#options = options;
    const { clock, dir, logFile } = options;
    this.#engine = new SupervisedEngine({ clock, dir: join(dir, "run"), logFile });
  }

  async observe(): Promise<EngineView> {
    const { program, dir, port } = this.#options;
    const process = this.#engine.observe();
    const at = await port();
    const isReady = process.running && (await this.#isReady(at));
    const outdated = existsSync(dir) ? this.#outdatedFiles() : [];
    return {
      version: await this.#findVersion(),
      packages: program.packages,
      hasData: existsSync(join(dir, "data")),
      process: process.running ? (isReady ? "ready" : "starting") : "absent",
      startedAt: process.startedAt,
      endedAt: process.endedAt,
      recentEnds: process.recentEnds,
      detail: process.detail,
      address: `${HOST}:${at}`,
      ...(outdated.length > 0 && { outdated: outdated.join(", ") }),
    };
  }

  async create(): Promise<void> {
    const data = join(this.#options.dir, "data");
    mkdirSync(data, { recursive: true, mode: 0o700 });
    giveTo(findSystemUser("prometheus"), this.#options.dir, data);
  }

  async start(): Promise<void> {
    const { program, dir, port } = this.#options;
    this.#writeFiles();
    const argv = [
      ...asUser(findSystemUser("prometheus")),
      program.command,
      ...program.argv(dir, await port()),
    ];
    this.#engine.start(argv as unknown as Argv);
  }

  async configure(): Promise<void> {
    this.#writeFiles();
    this.#engine.signal("SIGHUP");
  }

  async stop(): Promise<void> {
    await this.#engine.stop("SIGTERM", STOP_TIMEOUT_MS);
  }

  #outdatedFiles(): string[] {
    return Object.entries(this.#options.program.files())
      .filter(([name, text]) => readText(join(this.#options.dir, name)) !== text)
      .map(([name]) => name);
  }

  #writeFiles(): void {
    for (const [name, text] of Object.entries(this.#options.program.files())) {
      const path = join(this.#options.dir, name);
      writeWhole(path, text, 0o600);
      giveTo(findSystemUser("prometheus"), path);
    }
  }

  async #isReady(port: number): Promise<boolean> {
    const url = `http://${HOST}:${port}${this.#options.program.readyPath}`;
    return fetch(url, { signal: AbortSignal.timeout(READY_TIMEOUT_MS) }).then(
      async (answer) => {
        await answer.body?.cancel();
        return answer.ok;
      },
      () => false,
    );
  }

  #findVersion(): Promise<string | undefined> {
    this.#version ??= run([this.#options.program.command, "--version"]).then(
      ({ stdout, stderr }) => /version (\S+)/.exec(stdout + stderr)?.[1],
      () => {
        // Not there yet: whoever installs it need not start anything again.
        this.#version = undefined;
        return undefined;
      },
    );
    return this.#version;
  }
}
