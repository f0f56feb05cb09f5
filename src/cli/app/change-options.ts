// What every command that changes an app takes, for environments where changes are records.

import type { ChangeView } from "../../api/change-routes.ts";
import type { CommandContext, CommandOption, Options } from "../command.ts";
import type { Output } from "../output.ts";

const POLL_MS = 1_000;

export const CHANGE_OPTIONS: readonly CommandOption[] = [
  { flags: "--reason <text>", description: "reason, kept in the change record" },
  {
    flags: "--emergency",
    description: "bypass approvals, windows and freezes; requires --reason and a later review",
  },
  {
    flags: "--override-budget",
    description: "proceed although the error budget is spent; requires --reason",
  },
  {
    flags: "--accept-contract",
    description:
      "proceed although migrations remove schema that a release still uses; requires --reason",
  },
  { flags: "--no-wait", description: "return without waiting for an approval" },
];

/** Of what decides who may change what: loosening it waits for somebody else. */
export const CONTROL_OPTIONS: readonly CommandOption[] = [
  { flags: "--reason <text>", description: "reason, kept in the change record" },
  {
    flags: "--emergency",
    description:
      "apply at once although it loosens control; announced, requires --reason and a later review",
  },
];

export interface Waiting {
  readonly change?: number;
  readonly pending?: string;
  readonly emergency?: true;
}

/** What to say where it is not written yet, or was past an approval. */
export const waitingText = (
  { change, pending, emergency }: Waiting,
  output: Output,
): string | undefined =>
  pending !== undefined
    ? `not written yet: it is change ${change}, and ${pending}\n  ${output.paint("cyan", "→")} holdfast change show ${change}`
    : emergency
      ? `an emergency: ${output.paint("red", "to be reviewed")}, holdfast change review ${change} --text <what was found>`
      : change === undefined
        ? undefined
        : `it is change ${change}`;

/** What was done, or what it waits for. */
export const doneText = (done: string, facts: Waiting, output: Output): string =>
  facts.pending === undefined
    ? [done, waitingText(facts, output)].filter(Boolean).join("\n")
    : (waitingText(facts, output) ?? "");

/** As the API takes them. */
export function changeFacts(options: Options): {
  reason?: string;
  emergency?: boolean;
  overrideBudget?: boolean;
  acceptContract?: boolean;
} {
  const { reason } = options;
  return {
    ...(reason !== undefined && { reason: String(reason) }),
    ...(options["emergency"] === true && { emergency: true }),
    ...(options["overrideBudget"] === true && { overrideBudget: true }),
    ...(options["acceptContract"] === true && { acceptContract: true }),
  };
}

export const controlFacts = (options: Options): { reason?: string; emergency?: boolean } => ({
  ...(options["reason"] !== undefined && { reason: String(options["reason"]) }),
  ...(options["emergency"] === true && { emergency: true }),
});

const WAITING: ReadonlySet<ChangeView["phase"]> = new Set(["asked", "approved", "scheduled"]);

/** Until it was run, or will not be. */
export async function awaitChange(
  context: Pick<CommandContext, "client" | "output" | "signal">,
  number: number,
): Promise<ChangeView> {
  const { client, output, signal } = context;
  let told = "";
  for (;;) {
    const view = await client.get(`/v1/changes/${String(number)}`);
    if (view.executed || !WAITING.has(view.phase)) return view;
    if (view.text !== told) output.progress(`  change ${number} ${view.phase}: ${view.text}`);
    told = view.text;
    await new Promise((resolve) => {
      setTimeout(resolve, POLL_MS);
      signal.addEventListener("abort", resolve, { once: true });
    });
    signal.throwIfAborted();
  }
}
