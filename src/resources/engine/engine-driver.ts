// What an engine kind needs from the world.

export interface EngineView {
  /** The program, or undefined where the machine does not have it. */
  readonly version: string | undefined;
  /** Packages that bring it, for the hint. */
  readonly packages: string;
  readonly hasData: boolean;
  /** silent: it runs and does not answer. */
  readonly process: "absent" | "starting" | "ready" | "silent";
  readonly startedAt: number | undefined;
  /** When it last ended by itself, and how often lately. */
  readonly endedAt: number | undefined;
  readonly recentEnds: number;
  readonly detail: string | undefined;
  readonly address: string;
  /** What a person should know of it while all is well. */
  readonly note?: string;
  /** What has to be ready before it can start. */
  readonly awaits?: string;
  /** What of its configuration should say something else by now. */
  readonly outdated?: string;
}

/** Every method is idempotent. */
export interface EngineDriver {
  observe(name: string, signal: AbortSignal): Promise<EngineView>;
  /** Makes its data or configuration where there is none; never touches what is there. */
  create(name: string, signal: AbortSignal): Promise<void>;
  /** Starts the process and returns; `observe` tells when it is ready. */
  start(name: string, signal: AbortSignal): Promise<void>;
  /** Has it read the configuration that it should have, where that changes while it runs. */
  configure?(name: string, signal: AbortSignal): Promise<void>;
  /** Stops it in good order; its data stays. */
  stop(name: string, signal: AbortSignal): Promise<void>;
}
