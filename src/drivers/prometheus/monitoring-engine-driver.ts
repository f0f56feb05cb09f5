// The programs that watch: Prometheus, Alertmanager, the exporters of the machine and of stores. Each
// is a supervised process with a few files that say what to do; where those should say something
// else, they are written again and the program reads them.

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
  readonly argv: (dir: string, port: number) => readonly string[];
  /** Variables, which may be secret; makes sure first of what they need. */
  readonly variables?: (name: string) => Promise<Readonly<Record<string, string>>>;
  /** What has to be ready before it can start, if that is not. */
  readonly awaits?: (name: string) => Promise<string | undefined>;
  /** Answers 200 once it is ready. */
  readonly readyPath: string;
}

export interface MonitoringOptions {
  readonly clock: Clock;
  readonly program: MonitoringProgram;
  readonly dirOf: (name: string) => string;
  readonly logFileOf: (name: string) => string;
  readonly portOf: (name: string) => Promise<number>;
  /** For its start: another one where a program of somebody else's has it. */
  readonly portToStart: (name: string) => Promise<number>;
  /** Keeps apps away from it; before it listens. */
  readonly closePort: () => Promise<unknown>;
}

const HOST = "127.0.0.1";
const STOP_TIMEOUT_MS = 20_000;
const READY_TIMEOUT_MS = 2_000;

export class MonitoringEngineDriver implements EngineDriver {
  readonly #options: MonitoringOptions;
  readonly #engines = new Map<string, SupervisedEngine>();
  #version: Promise<string | undefined> | undefined;

  constructor(options: MonitoringOptions) {
    this.#options = options;
  }

  async observe(name: string): Promise<EngineView> {
    const { program, dirOf, portOf } = this.#options;
    const dir = dirOf(name);
    const process = this.#engine(name).observe();
    const at = await portOf(name);
    const isReady = process.running && (await this.#isReady(at));
    const outdated = existsSync(dir) ? this.#outdatedFiles(dir) : [];
    const awaits = process.running ? undefined : await program.awaits?.(name);
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
      ...(awaits !== undefined && { awaits }),
      ...(outdated.length > 0 && { outdated: outdated.join(", ") }),
    };
  }

  async create(name: string): Promise<void> {
    const dir = this.#options.dirOf(name);
    const data = join(dir, "data");
    mkdirSync(data, { recursive: true, mode: 0o700 });
    giveTo(findSystemUser("prometheus"), dir, data);
  }

  async start(name: string): Promise<void> {
    const { program, dirOf, portToStart } = this.#options;
    const dir = dirOf(name);
    const port = await portToStart(name);
    this.#writeFiles(dir);
    const argv = [
      ...asUser(findSystemUser("prometheus")),
      program.command,
      ...program.argv(dir, port),
    ];
    await this.#options.closePort();
    this.#engine(name).start(argv as unknown as Argv, await program.variables?.(name));
  }

  async configure(name: string): Promise<void> {
    this.#writeFiles(this.#options.dirOf(name));
    this.#engine(name).signal("SIGHUP");
  }

  async stop(name: string): Promise<void> {
    await this.#engine(name).stop("SIGTERM", STOP_TIMEOUT_MS);
  }

  #outdatedFiles(dir: string): string[] {
    return Object.entries(this.#options.program.files())
      .filter(([name, text]) => readText(join(dir, name)) !== text)
      .map(([name]) => name);
  }

  #writeFiles(dir: string): void {
    for (const [name, text] of Object.entries(this.#options.program.files())) {
      const path = join(dir, name);
      writeWhole(path, text, 0o600);
      giveTo(findSystemUser("prometheus"), path);
    }
  }

  #engine(name: string): SupervisedEngine {
    const { clock, dirOf, logFileOf } = this.#options;
    let engine = this.#engines.get(name);
    if (!engine) {
      engine = new SupervisedEngine({
        clock,
        dir: join(dirOf(name), "run"),
        logFile: logFileOf(name),
      });
      this.#engines.set(name, engine);
    }
    return engine;
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
      ({ stdout, stderr }) => /(?:version|Exporter) (\d\S*)/.exec(stdout + stderr)?.[1],
      () => {
        // Not there yet: whoever installs it need not start anything again.
        this.#version = undefined;
        return undefined;
      },
    );
    return this.#version;
  }
}
