// A command is a value: its name, its words and its work. The command line is made of these, and so
// is the reference page.

import type { Client } from "../client/client.ts";
import type { Output } from "./output.ts";

export interface CommandOption {
  /** As commander writes it: `--to <release>`. */
  readonly flags: string;
  readonly description: string;
  readonly default?: string | boolean;
}

export interface CommandContext {
  readonly client: Client;
  readonly output: Output;
  readonly environment: string;
  /** Loaded when it is asked for. */
  readonly lifecycle: () => Promise<Lifecycle>;
  /** Fires on Ctrl-C. */
  readonly signal: AbortSignal;
}

export type Options = Readonly<Record<string, string | boolean | undefined>>;

export interface Command {
  /** `config set <app> <pairs...>` */
  readonly usage: string;
  readonly summary: string;
  readonly details?: string;
  readonly examples: readonly string[];
  readonly options?: readonly CommandOption[];
  /** Returns the exit status; nothing means 0. */
  readonly run: (
    context: CommandContext,
    args: readonly (string | readonly string[] | undefined)[],
    options: Options,
  ) => Promise<number | undefined>;
}

/** What starts and stops the installation itself: the client can't, its other side is not there. */
export interface Lifecycle {
  up(options: {
    install: boolean;
    restoreState: boolean;
    onProgress: (text: string) => void;
  }): Promise<UpResult>;
  down(options: { all: boolean; onProgress: (text: string) => void }): Promise<void>;
  doctor(): Promise<readonly Finding[]>;
  /** The status with which a host answers over HTTPS, through the edge; undefined: it does not. */
  askOverHttps(host: string): Promise<number | undefined>;
  /** The example shop of this checkout. */
  readonly examplesDir: string;
}

export interface UpResult {
  readonly home: string;
  readonly httpsPort: number;
  readonly ca: string;
  readonly wasRunning: boolean;
}

export interface Finding {
  readonly what: string;
  readonly ok: boolean;
  readonly detail: string;
  readonly hint?: string;
}
