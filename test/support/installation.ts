// A whole Holdfast of its own for a test: own folder, free ports, the built product used from
// outside like anybody would. `close` leaves nothing behind.

import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import type { InstallationPorts } from "../../src/host/ports.ts";

export const CHECKOUT = join(import.meta.dirname, "..", "..");
export const STOREFRONT = join(CHECKOUT, "examples", "storefront");
const CLI = join(CHECKOUT, "holdfast");
const COMMAND_TIMEOUT_MS = 180_000;

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class Installation {
  readonly home: string;
  readonly #env: NodeJS.ProcessEnv;

  constructor(env: NodeJS.ProcessEnv = {}, home = mkdtempSync(join(tmpdir(), "holdfast-test-"))) {
    this.home = home;
    chmodSync(this.home, 0o711);
    this.#env = { ...process.env, HOLDFAST_HOME: this.home, HOLDFAST_BIND: "127.0.0.1", ...env };
  }

  /** Runs the command line; `input` is its standard input. */
  run(args: readonly string[], input = ""): Promise<CommandResult> {
    return this.#run(args, input, this.#env);
  }

  /** As somebody elsewhere would: over HTTP, with a token. */
  runAs(token: string, args: readonly string[]): Promise<CommandResult> {
    const { HOLDFAST_HOME: _, ...env } = this.#env;
    const api = `http://127.0.0.1:${this.ports.api}`;
    return this.#run(args, "", { ...env, HOLDFAST_API: api, HOLDFAST_TOKEN: token });
  }

  /** A token that its holder took over from the owner, who made it. */
  async tokenOf(account: string, ...more: string[]): Promise<string> {
    const made = (await this.ok("token", "create", account, ...more)).trim();
    const { code, stdout, stderr } = await this.runAs(made, ["token", "accept"]);
    if (code !== 0) throw new Error(`token accept ended with ${code}: ${stderr}`);
    return stdout.trim();
  }

  #run(args: readonly string[], input: string, env: NodeJS.ProcessEnv): Promise<CommandResult> {
    return new Promise((resolve, reject) => {
      const child = spawn(CLI, args, { env, timeout: COMMAND_TIMEOUT_MS });
      const output = { stdout: "", stderr: "" };
      child.stdout.on("data", (chunk) => {
        output.stdout += chunk;
      });
      child.stderr.on("data", (chunk) => {
        output.stderr += chunk;
      });
      child.on("error", reject);
      child.on("close", (code) => resolve({ code: code ?? -1, ...output }));
      // It may end without having read all of it.
      child.stdin.on("error", () => undefined).end(input);
    });
  }

  /** Runs and gives the JSON it printed; throws where the exit status is not 0. */
  async json<Facts>(...args: readonly string[]): Promise<Facts> {
    const { code, stdout, stderr } = await this.run([...args, "--json"]);
    if (code !== 0)
      throw new Error(`holdfast ${args.join(" ")} ended with ${code}: ${stdout}${stderr}`);
    return JSON.parse(stdout) as Facts;
  }

  /** What `status` says; it ends with 3 where something is in the way, which is also said. */
  async status<Facts>(): Promise<Facts> {
    const { code, stdout, stderr } = await this.run(["status", "--json"]);
    if (code !== 0 && code !== 3)
      throw new Error(`holdfast status ended with ${code}: ${stdout}${stderr}`);
    return JSON.parse(stdout) as Facts;
  }

  async ok(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(args);
    if (code !== 0)
      throw new Error(`holdfast ${args.join(" ")} ended with ${code}: ${stdout}${stderr}`);
    return stdout;
  }

  get ports(): InstallationPorts {
    return JSON.parse(readFileSync(join(this.home, "state", "ports.json"), "utf8"));
  }

  get caFile(): string {
    return join(this.home, "ca", "ca.crt");
  }

  /** The process id of the control plane. */
  get controlPlanePid(): number {
    return (
      JSON.parse(readFileSync(join(this.home, "run", "control-plane.json"), "utf8")) as {
        pid: number;
      }
    ).pid;
  }

  /** Runs a statement in an app's database, as the app itself. */
  async query<Row extends pg.QueryResultRow>(app: string, sql: string): Promise<Row[]> {
    const url = (await this.ok("run", app, "--", "printenv DATABASE_URL")).trim();
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      return (await client.query<Row>(sql)).rows;
    } finally {
      await client.end();
    }
  }

  async close(): Promise<void> {
    if (existsSync(this.home)) await this.run(["down", "--all"]);
    rmSync(this.home, { recursive: true, force: true, maxRetries: 5 });
  }
}
