// Declarations in files: compared, and applied.

import { createInterface } from "node:readline/promises";
import { asHoldfastError, EXIT_CODE, errorOfProblem, invalid } from "../../kernel/error.ts";
import type { AppliedChange, PlannedChange } from "../../operations/declared/declaration.ts";
import { CONTROL_OPTIONS, controlFacts } from "../app/change-options.ts";
import type { Command, Options } from "../command.ts";
import type { Output } from "../output.ts";
import { readDeclarations } from "./declaration-files.ts";

const FILES = [
  { flags: "-f, --file <path>", description: "a file, a folder, or - for standard input" },
  { flags: "--set <name>", description: "name of this set of files, required to prune" },
  {
    flags: "--prune",
    description: "remove resources of --set that are no longer in the files",
  },
] as const;

/** The same as `terraform plan -detailed-exitcode`: 0 nothing, 1 a mistake, 2 it differs. */
const DIFFERS = 2;
const MISTAKE = 1;

export const plan: Command = {
  usage: "plan",
  summary: "Show what apply would change; exit status 2 if anything differs.",
  details: "Exit status: 0 no difference, 2 differences, 1 an error in the files.",
  examples: ["holdfast plan -f infra/", "holdfast plan -f infra/ --set infra --prune"],
  options: FILES,
  run: async ({ client, output }, _args, options) => {
    try {
      const body = await bodyOf(options);
      const facts = await client.post("/v1/plan", body);
      output.result(facts, () => render(facts.changes, output, PLANNED));
      return facts.changes.some(({ does }) => does !== "nothing") ? DIFFERS : 0;
    } catch (error) {
      output.problem(asHoldfastError(error));
      return MISTAKE;
    }
  },
};

export const apply: Command = {
  usage: "apply",
  summary: "Apply resource files.",
  details:
    "Each document has kind, name and spec, as printed by `holdfast get -o yaml`. All documents are validated in a dry run first; applying again changes nothing. Secret values are given as { $env: VARIABLE }.",
  examples: [
    "holdfast apply -f infra/",
    "holdfast apply -f infra/ --set infra --prune",
    "holdfast get window -o yaml | holdfast apply -f -",
  ],
  options: [...FILES, { flags: "--yes", description: "prune without asking" }, ...CONTROL_OPTIONS],
  run: async ({ client, output, signal }, _args, options) => {
    const body = await bodyOf(options);
    if (options["prune"] === true && options["yes"] !== true) {
      const { changes } = await client.post("/v1/plan", body);
      await confirm(changes, output, signal);
    }
    const facts = await client.post("/v1/apply", {
      ...body,
      ...controlFacts(options),
    });
    output.result(facts, () => render(facts.changes, output, DONE));
    const failed = facts.changes.find(({ problem }) => problem !== undefined);
    if (!failed?.problem) return 0;
    const error = errorOfProblem(failed.problem);
    return output.isJson ? EXIT_CODE[error.actsNext] : output.problem(error);
  },
};

async function bodyOf(options: Options) {
  const file = options["file"];
  if (typeof file !== "string")
    throw invalid("apply.no_file", "which files?", { hint: "-f <file or folder>, or -f -" });
  return {
    resources: await readDeclarations(file),
    ...(options["set"] !== undefined && { set: String(options["set"]) }),
    prune: options["prune"] === true,
  };
}

/** @throws where nobody says yes */
async function confirm(
  changes: readonly PlannedChange[],
  output: Output,
  signal: AbortSignal,
): Promise<void> {
  const gone = changes.filter(({ does }) => does === "remove");
  if (gone.length === 0) return;
  for (const { kind, name } of gone) output.progress(`removes ${kind} ${name}`);
  const refusal = invalid("apply.unconfirmed", `${gone.length} would be removed`, {
    hint: "--yes removes them; holdfast plan shows all that would change",
  });
  if (process.stdin.isTTY !== true || output.isJson) throw refusal;
  const reader = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await reader.question("remove them? [y/N] ", { signal });
    if (!/^y(es)?$/i.test(answer.trim())) throw refusal;
  } finally {
    reader.close();
  }
}

const SIGNS = { create: "+", change: "~", remove: "-", nothing: " " } as const;
const STYLES = { create: "green", change: "yellow", remove: "red", nothing: "dim" } as const;

const PLANNED = { create: "to create", change: "to change", remove: "to remove" } as const;
const DONE = { create: "created", change: "changed", remove: "removed" } as const;

function render(
  changes: readonly AppliedChange[],
  output: Output,
  words: Readonly<Record<keyof typeof DONE, string>>,
): string {
  const differing = changes.filter(({ does }) => does !== "nothing");
  const same = changes.length - differing.length;
  const lines = differing.flatMap((one) => [
    output.paint(
      STYLES[one.does],
      `${SIGNS[one.does]} ${one.kind} ${one.name}${one.source === undefined ? "" : `  (${one.source})`}`,
    ),
    ...(one.does === "remove" ? [] : one.changes.map(fieldText)),
    ...(one.pending === undefined
      ? one.change === undefined
        ? []
        : [`    is change ${one.change}`]
      : [`    is change ${one.change}, and ${one.pending}: holdfast change show ${one.change}`]),
    ...(one.problem === undefined ? [] : [output.paint("red", "    was not written")]),
  ]);
  const written = differing.filter((one) => !one.pending && !one.problem);
  const waiting = differing.filter(({ pending }) => pending !== undefined).length;
  const counts = (["create", "change", "remove"] as const)
    .map((does) => [written.filter((one) => one.does === does).length, words[does]] as const)
    .filter(([count]) => count > 0)
    .map(([count, word]) => `${count} ${word}`);
  const waits = waiting > 0 ? [`${waiting} waiting for approval`] : [];
  return [...lines, [...counts, ...waits, `${same} unchanged`].join(", ")].join("\n");
}

const SHOWN_CHARS = 100;

function fieldText({ field, from, to }: PlannedChange["changes"][number]): string {
  const shown = (value: unknown): string => {
    const all = typeof value === "string" ? value : JSON.stringify(value);
    return all.length > SHOWN_CHARS ? `${all.slice(0, SHOWN_CHARS)}…` : all;
  };
  if (from === undefined) return `    ${field}: ${shown(to)}`;
  if (to === undefined) return `    ${field}: ${shown(from)} → (gone)`;
  return `    ${field}: ${shown(from)} → ${shown(to)}`;
}
