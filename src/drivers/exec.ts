// The only file in the project that starts processes. A command is an argv array, never a string
// for a shell; what a person wrote as a command line is one argument of `sh -c`.

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, createWriteStream, openSync } from "node:fs";
import { PassThrough, pipeline, type Readable } from "node:stream";
import { stuck } from "../kernel/error.ts";

export type Argv = readonly [string, ...string[]];

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  readonly input?: string;
  readonly signal?: AbortSignal | undefined;
  /** What is kept of each output stream; more is dropped from its beginning. */
  readonly outputMaxChars?: number;
  /** Ends the process with SIGKILL after this long. */
  readonly timeoutMs?: number;
  /** Both output streams are also appended to this file, as they come. */
  readonly logFile?: string;
  /** More is not written to it, and said there. */
  readonly logMaxBytes?: number;
  /** It leads a process group, and what it leaves behind in that ends with it. */
  readonly ownGroup?: boolean;
}

export interface RunResult {
  /** undefined where a signal ended it. */
  readonly code: number | undefined;
  readonly signal?: NodeJS.Signals | undefined;
  /** It was ended because its time was over. */
  readonly timedOut?: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/** What is kept of each output stream; more is dropped from its beginning. */
const OUTPUT_MAX_CHARS = 1_000_000;
const DEFAULT_TIMEOUT_MS = 60_000;
/** After the end of a process, time for the rest of its output. */
const DRAIN_MS = 2_000;

const SYSTEM_FOLDERS = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/** Ours, with the folders of engines that an ordinary user does not have in PATH. */
export function ownEnvironment(): NodeJS.ProcessEnv {
  const folders = (process.env["PATH"] ?? "/usr/local/bin:/usr/bin:/bin").split(":");
  const missing = SYSTEM_FOLDERS.filter((folder) => !folders.includes(folder));
  return { ...process.env, PATH: [...folders, ...missing].join(":") };
}

/** Runs to the end and gives exit status and output; throws only where it could not be started. */
export function run(argv: Argv, options: RunOptions = {}): Promise<RunResult> {
  const [command, ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: options.env ?? ownEnvironment(),
      ...(options.uid !== undefined && { uid: options.uid }),
      ...(options.gid !== undefined && { gid: options.gid }),
      signal: options.signal,
      killSignal: "SIGKILL",
      detached: options.ownGroup ?? false,
      stdio: [options.input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    });
    const output = { stdout: "", stderr: "" };
    const outputMaxChars = options.outputMaxChars ?? OUTPUT_MAX_CHARS;
    const log =
      options.logFile === undefined
        ? undefined
        : createWriteStream(options.logFile, { flags: "a", mode: 0o600 });
    log?.on("error", () => undefined);
    let logRoom = options.logMaxBytes ?? Number.POSITIVE_INFINITY;
    let isOpenLine = false;
    const keep = (text: string): void => {
      if (logRoom <= 0) return;
      isOpenLine = !text.endsWith("\n");
      log?.write(text);
      logRoom -= text.length;
      if (logRoom <= 0) log?.write("\n… what follows is not kept: the log is too long\n");
    };
    for (const stream of ["stdout", "stderr"] as const) {
      child[stream]?.setEncoding("utf8").on("data", (text: string) => {
        output[stream] = (output[stream] + text).slice(-outputMaxChars);
        keep(text);
      });
    }
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      endGroup(child, options);
    }, options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    child.on("error", (cause) => {
      clearTimeout(timer);
      reject(cannotStart(command, cause));
    });
    // A process that got away and holds the output open must not hold us.
    child.on("exit", () => {
      clearTimeout(timer);
      if (options.ownGroup) endGroup(child, options);
      setTimeout(() => {
        child.stdout?.destroy();
        child.stderr?.destroy();
      }, DRAIN_MS).unref();
    });
    child.on("close", (code, signal) => {
      const result = { code: code ?? undefined, signal: signal ?? undefined, timedOut, ...output };
      // What it wrote last is a line too, also where it did not end it.
      if (log) log.end(isOpenLine ? "\n" : "", () => resolve(result));
      else resolve(result);
    });
    child.stdin?.on("error", () => undefined).end(options.input);
  });
}

function endGroup(child: ChildProcess, { ownGroup }: RunOptions): void {
  if (child.pid === undefined) return;
  try {
    process.kill(ownGroup ? -child.pid : child.pid, "SIGKILL");
  } catch {
    // Nothing is left of it.
  }
}

export interface Piped {
  readonly stdout: Readable;
  /** Never rejects; what went wrong is in the output. */
  readonly ended: Promise<Omit<RunResult, "stdout">>;
}

/** Starts a process between two streams: what it is given, and what it says. */
export function pipe(
  argv: Argv,
  { input, ...options }: Omit<RunOptions, "input" | "logFile"> & { readonly input?: Readable },
): Piped {
  const [command, ...args] = argv;
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: options.env ?? ownEnvironment(),
    signal: options.signal,
    killSignal: "SIGKILL",
    stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
  });
  const timer = setTimeout(() => endGroup(child, options), options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  let stderr = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-OUTPUT_MAX_CHARS);
  });
  const ended = new Promise<Omit<RunResult, "stdout">>((resolve) => {
    child.on("error", (cause) => {
      clearTimeout(timer);
      resolve({ code: undefined, stderr: `${stderr}${cause.message}` });
    });
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code: code ?? undefined, stderr });
    });
    // Where nobody reads what it said, its output is never closed.
    child.on("exit", (code) => {
      setTimeout(() => resolve({ code: code ?? undefined, stderr }), DRAIN_MS).unref();
    });
  });
  if (input && child.stdin) {
    child.stdin.on("error", () => undefined);
    input.on("error", () => child.stdin?.destroy());
    input.pipe(child.stdin);
  }
  // Node drops what nobody reads yet when a process ends.
  const stdout = new PassThrough();
  if (child.stdout) pipeline(child.stdout, stdout, () => undefined);
  return { stdout, ended };
}

/** Runs and gives standard output; throws with the output where the exit status is not 0. */
export async function runOrThrow(argv: Argv, options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await run(argv, options);
  if (code === 0) return stdout;
  const detail = (stderr || stdout).trim().split("\n").slice(-5).join("\n");
  throw new Error(`${argv[0]} ended with ${code ?? "a signal"}: ${detail}`);
}

export interface DetachedOptions {
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  /** Both output streams are appended to this file. */
  readonly logFile: string;
  /** Its standard input is ours to write: `stdin` of what is returned. Otherwise it has none. */
  readonly takesInput?: boolean;
}

/** Starts a process that outlives us, in a session of its own. */
export function startDetached(argv: Argv, options: DetachedOptions): ChildProcess {
  const [command, ...args] = argv;
  const log = openSync(options.logFile, "a", 0o600);
  try {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: options.env,
      detached: true,
      stdio: [options.takesInput ? "pipe" : "ignore", log, log],
    });
    // It may end without having read all of it.
    child.stdin?.on("error", () => undefined);
    // A failure to start shows as an instance that never wrote its process id.
    child.on("error", () => undefined);
    child.unref();
    return child;
  } finally {
    closeSync(log);
  }
}

function cannotStart(command: string, cause: Error): Error {
  if (cause.name === "AbortError") return cause;
  return stuck("exec.cannot_start", `${command} could not be started`, {
    hint: "holdfast doctor",
    cause,
  });
}
