import { fstatSync } from "node:fs";
import { constants } from "node:os";
import { invalid, messageOf } from "../../kernel/error.ts";
import type { Command, CommandContext } from "../command.ts";
import { appName, listOf } from "./change.ts";
import { CONTROL_OPTIONS, controlFacts } from "./change-options.ts";
import { showLines } from "./show-lines.ts";

const EXIT_INTERRUPTED = 130;

export const runCommand: Command = {
  usage: "run <app> <command...>",
  summary: "Run a one-off command in the live release, with the app's environment variables.",
  details:
    "Output is streamed and kept in the logs; the exit status is the command's. Standard input is passed on. Ctrl-C stops it. In a protected environment it is a change: if somebody else can approve it, it waits for the approval and then runs; piped input requires --emergency there.",
  examples: [
    "holdfast run storefront -- psql < rows.sql",
    "holdfast run storefront -- node scripts/report.ts",
    "holdfast run storefront -- env",
  ],
  options: CONTROL_OPTIONS,
  run: async (context, [app, words], options) => {
    const { client, output, environment, signal } = context;
    const base = `/v1/apps/${environment}/${appName(String(app))}/tasks` as const;
    const given = listOf(words);
    // What comes after the app is its command's: ours would silently be taken for part of it.
    if (given[0]?.startsWith("-") && given[0] !== "--")
      throw invalid(
        "run.option_too_late",
        `${given[0]} comes after ${String(app)}, where its command is`,
        {
          hint: `options come before: holdfast run ${given[0]} … ${String(app)} -- <command>`,
        },
      );
    const command = (given[0] === "--" ? given.slice(1) : given).map(quote).join(" ");
    const takesInput = hasInput();
    const asked = await client.post(base, {
      command,
      takesInput,
      ...controlFacts(options),
    });
    if (asked.pending !== undefined || !("instance" in asked)) {
      output.result(
        asked,
        () => `change ${asked.change} ${asked.pending}; its output: ${logsOf(app)}`,
      );
      return 0;
    }
    const task = asked;
    output.progress(`runs in release ${task.release}`);
    const ended = new AbortController();
    const done = AbortSignal.any([ended.signal, signal]);
    const feeding = takesInput ? feed(context, `${base}/${task.task}/input`, done) : undefined;
    const logs = { environment, app: String(app), service: "run", instance: task.instance };
    const showing = showLines(context, logs, done, (line) => output.line(line, line.text));
    let code = EXIT_INTERRUPTED;
    try {
      for await (const event of client.events(`${base}/${task.task}`, {}, signal)) {
        if (event.event === "ended") code = event.code ?? exitBySignal(event.signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
      await client.delete(`${base}/${task.task}`);
    } finally {
      ended.abort();
      await feeding;
    }
    await showing;
    if (output.isJson) output.line({ ...task, code }, "");
    return code;
  },
};

const logsOf = (app: unknown): string => `holdfast logs ${String(app)}/run`;

// As a shell has it: 137 for SIGKILL.
const exitBySignal = (signal: string | undefined): number =>
  128 + (constants.signals[signal as NodeJS.Signals] ?? 0);

/** A pipe or a file; a terminal is not read, and where there is nothing, nothing. */
function hasInput(): boolean {
  try {
    const stat = fstatSync(0);
    return stat.isFIFO() || stat.isFile() || stat.isSocket();
  } catch {
    return false;
  }
}

async function feed({ client, output }: CommandContext, path: string, done: AbortSignal) {
  try {
    await client.send(path, process.stdin, done);
  } catch (error) {
    // The command itself goes on: its end is what counts.
    if (!done.aborted) output.progress(`its input can't be sent: ${messageOf(error)}`);
  } finally {
    process.stdin.destroy();
  }
}

// One word stays as the person wrote it: `run app -- "a | b"` is a command line of its own.
function quote(word: string, _index: number, words: readonly string[]): string {
  if (words.length === 1 || /^[\w@%+=:,./-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", "'\\''")}'`;
}
