import { fstatSync } from "node:fs";
import { constants } from "node:os";
import { setTimeout } from "node:timers/promises";
import type { TaskEvent } from "../../api/follow.ts";
import { invalid, messageOf } from "../../kernel/error.ts";
import type { LogLine } from "../../kernel/signal.ts";
import type { Command, CommandContext } from "../command.ts";
import { appName, listOf } from "./change.ts";

const EXIT_INTERRUPTED = 130;
const LINES_AT_ONCE = 10_000;
const LOOK_MS = 250;

export const runCommand: Command = {
  usage: "run <app> <command...>",
  summary: "Run a command once, in the release that serves, with the app's variables.",
  details:
    "Its output is shown as it comes and kept in the logs; its exit status is ours. What is piped in is its input. Ctrl-C ends it.",
  examples: [
    "holdfast run storefront -- psql < rows.sql",
    "holdfast run storefront -- node scripts/report.ts",
    "holdfast run storefront -- env",
  ],
  run: async (context, [app, words]) => {
    const { client, output, environment, signal } = context;
    const base = `/v1/apps/${environment}/${appName(String(app))}/tasks`;
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
    const task = await client.post<{ task: string; instance: string; release: number }>(base, {
      command,
      takesInput,
    });
    output.progress(`runs in release ${task.release}`);
    const ended = new AbortController();
    const done = AbortSignal.any([ended.signal, signal]);
    const feeding = takesInput ? feed(context, `${base}/${task.task}/input`, done) : undefined;
    const logs = { environment, app: String(app), service: "run", instance: task.instance };
    const showing = showOutput(context, logs, done);
    let code = EXIT_INTERRUPTED;
    try {
      for await (const event of client.events<TaskEvent>(`${base}/${task.task}`, {}, signal)) {
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

/** Shows every line, in order, until `done` and there is none left: lines of one source have times of their own. */
async function showOutput(
  { client, output, signal }: CommandContext,
  query: Readonly<Record<string, string | number | boolean>>,
  done: AbortSignal,
): Promise<void> {
  let after = 0;
  let isLast = false;
  while (!isLast && !signal.aborted) {
    // What was written before the end is found by a question that is asked after it.
    isLast = done.aborted;
    try {
      let count = LINES_AT_ONCE;
      while (count === LINES_AT_ONCE) {
        count = 0;
        const page = { ...query, after, limit: LINES_AT_ONCE };
        for await (const line of client.events<LogLine>("/v1/logs", page, signal)) {
          output.line(line, line.text);
          after = line.time;
          count += 1;
        }
      }
    } catch (error) {
      // The command itself goes on: its end is what counts.
      if (isLast && !signal.aborted)
        output.progress(`its output can't be shown: ${messageOf(error)}`);
    }
    if (!isLast) await setTimeout(LOOK_MS, undefined, { signal: done }).catch(() => undefined);
  }
}

// One word stays as the person wrote it: `run app -- "a | b"` is a command line of its own.
function quote(word: string, _index: number, words: readonly string[]): string {
  if (words.length === 1 || /^[\w@%+=:,./-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", "'\\''")}'`;
}
