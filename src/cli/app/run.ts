import { constants } from "node:os";
import type { TaskEvent } from "../../api/follow.ts";
import { invalid, messageOf } from "../../kernel/error.ts";
import type { LogLine } from "../../kernel/signal.ts";
import type { Command, CommandContext } from "../command.ts";
import { appName, listOf } from "./change.ts";

const EXIT_INTERRUPTED = 130;
const LINES_MAX = 100_000;

export const runCommand: Command = {
  usage: "run <app> <command...>",
  summary: "Run a command once, in the release that serves, with the app's variables.",
  details:
    "Its output is shown as it comes and kept in the logs; its exit status is ours. Ctrl-C ends it.",
  examples: ["holdfast run storefront -- node scripts/report.ts", "holdfast run storefront -- env"],
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
    const task = await client.post<{ task: string; instance: string; release: number }>(base, {
      command,
    });
    output.progress(`runs in release ${task.release}`);
    const shown = new Set<number>();
    const logs = { environment, app: String(app), service: "run", instance: task.instance };
    const stopFollowing = new AbortController();
    const following = showOutput(
      context,
      { ...logs, follow: true },
      shown,
      AbortSignal.any([stopFollowing.signal, signal]),
    );
    let code = EXIT_INTERRUPTED;
    try {
      for await (const event of client.events<TaskEvent>(`${base}/${task.task}`, {}, signal)) {
        if (event.event === "ended") code = event.code ?? exitBySignal(event.signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
      await client.delete(`${base}/${task.task}`);
    } finally {
      stopFollowing.abort();
      await following;
    }
    // What it said last: a question finds everything that was written before it.
    await showOutput(context, { ...logs, limit: LINES_MAX }, shown, signal);
    if (output.isJson) output.line({ ...task, code }, "");
    return code;
  },
};

// As a shell has it: 137 for SIGKILL.
const exitBySignal = (signal: string | undefined): number =>
  128 + (constants.signals[signal as NodeJS.Signals] ?? 0);

/** Shows each line once: lines of one source have times of their own. */
async function showOutput(
  { client, output }: CommandContext,
  query: Readonly<Record<string, string | number | boolean>>,
  shown: Set<number>,
  signal: AbortSignal,
): Promise<void> {
  try {
    for await (const line of client.events<LogLine>("/v1/logs", query, signal)) {
      if (!shown.has(line.time)) output.line(line, line.text);
      shown.add(line.time);
    }
  } catch (error) {
    // The command itself goes on: its end is what counts.
    if (!signal.aborted) output.progress(`its output can't be shown: ${messageOf(error)}`);
  }
}

// One word stays as the person wrote it: `run app -- "a | b"` is a command line of its own.
function quote(word: string, _index: number, words: readonly string[]): string {
  if (words.length === 1 || /^[\w@%+=:,./-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", "'\\''")}'`;
}
