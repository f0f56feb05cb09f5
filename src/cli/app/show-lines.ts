// Lines of a log as they are written, each once and in order, until what writes them has ended.

import { setTimeout } from "node:timers/promises";
import { messageOf } from "../../kernel/error.ts";
import type { LogLine } from "../../kernel/signal.ts";
import type { CommandContext } from "../command.ts";

const LINES_AT_ONCE = 10_000;
const LOOK_MS = 250;

/** Until `done` and there is none left: lines of one source have times of their own. */
export async function showLines(
  { client, output, signal }: Pick<CommandContext, "client" | "output" | "signal">,
  query: Readonly<Record<string, string | number | boolean>>,
  done: AbortSignal,
  show: (line: LogLine) => void,
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
        for await (const line of client.events("/v1/logs", page, signal)) {
          show(line);
          after = line.time;
          count += 1;
        }
      }
    } catch (error) {
      // What writes them goes on: its end is what counts.
      if (isLast && !signal.aborted)
        output.progress(`its output can't be shown: ${messageOf(error)}`);
    }
    if (!isLast) await setTimeout(LOOK_MS, undefined, { signal: done }).catch(() => undefined);
  }
}
