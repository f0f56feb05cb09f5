// Who else gets telemetry. Headers are secrets: they come from standard input or a prompt.

import { invalid } from "../../kernel/error.ts";
import { EXPORT_SIGNALS } from "../../kernel/signal.ts";
import { doneText } from "../app/change-options.ts";
import { readSecret } from "../app/secret.ts";
import type { Command } from "../command.ts";

const pathOf = (environment: string, name: unknown) =>
  `/v1/environments/${environment}/exports/${encodeURIComponent(String(name))}` as const;

export const exportAdd: Command = {
  usage: "export add <name>",
  summary: "Export the environment's telemetry over OTLP; headers are read from standard input.",
  details:
    "Headers are comma-separated name=value pairs, as in OTEL_EXPORTER_OTLP_HEADERS; an empty line means none. Only new data is exported.",
  examples: [
    "holdfast export add vendor --endpoint https://otlp.example.com",
    "echo api-key=… | holdfast export add vendor --endpoint https://otlp.example.com --signals traces,logs",
  ],
  options: [
    { flags: "--endpoint <url>", description: "base URL, without /v1/…" },
    {
      flags: "--signals <list>",
      description: "comma-separated: logs, traces, metrics",
      default: EXPORT_SIGNALS.join(),
    },
  ],
  run: async ({ client, output, environment }, [name], options) => {
    if (options["endpoint"] === undefined)
      throw invalid("cli.no_endpoint", "an export needs --endpoint: where to send", {
        hint: `holdfast export add ${String(name)} --endpoint https://otlp.example.com`,
      });
    const made = await client.put(pathOf(environment, name), {
      endpoint: String(options["endpoint"]),
      signals: String(options["signals"] ?? EXPORT_SIGNALS.join()).split(","),
      headers: headersOf(await readSecret("headers (name=value,…): ")),
    });
    const done = `${made.name} gets ${made.signals.join(", ")} from now on; try it: holdfast export test ${made.name}`;
    output.result(made, () => doneText(done, made, output));
    return 0;
  },
};

function headersOf(text: string): Record<string, string> {
  const pairs = text.trim() === "" ? [] : text.trim().split(",");
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf("=");
      if (at < 1)
        throw invalid("cli.bad_headers", "the headers are not name=value with commas between", {
          hint: "for example: api-key=…,x-tenant=shop",
        });
      return [pair.slice(0, at).trim(), decoded(pair.slice(at + 1).trim())];
    }),
  );
}

/** Percent-encoded, as the variable has it; a percent sign of its own stays. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export const exportList: Command = {
  usage: "export list",
  summary: "List exports and their delivery state, without headers.",
  examples: ["holdfast export list"],
  run: async ({ client, output, environment }) => {
    const facts = await client.get(`/v1/environments/${environment}/exports`);
    output.result(facts, () =>
      facts.exports.length === 0
        ? "nothing is sent onward: holdfast export add"
        : output.table(
            facts.exports.map(({ name, endpoint, signals, state }) => [
              name,
              endpoint,
              signals.join(", "),
              String(state?.sent ?? "-"),
              String(state?.waiting ?? "-"),
              state?.lost ? output.paint("red", String(state.lost)) : String(state?.lost ?? "-"),
              state?.problem === undefined ? "" : output.paint("red", state.problem),
            ]),
            ["export", "endpoint", "signals", "sent", "waiting", "lost", ""],
          ),
    );
    return 0;
  },
};

export const exportTest: Command = {
  usage: "export test <name>",
  summary: "Send an empty message of each signal and report the answers.",
  examples: ["holdfast export test vendor"],
  run: async ({ client, output, environment }, [name]) => {
    const told = await client.post(`${pathOf(environment, name)}/test`);
    output.result(told, () => `${String(name)} took ${told.taken.join(", ")}`);
    return 0;
  },
};

export const exportRemove: Command = {
  usage: "export remove <name>",
  summary: "Remove an export and drop its queue.",
  examples: ["holdfast export remove vendor"],
  run: async ({ client, output, environment }, [name]) => {
    const gone = await client.delete(pathOf(environment, name));
    output.result(gone, () => doneText(`${String(name)} gets nothing any more`, gone, output));
    return 0;
  },
};
