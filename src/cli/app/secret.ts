// Secret values come from standard input or a prompt without echo; never from the command line,
// where every user of the machine could read them.

import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import { invalid } from "../../kernel/error.ts";
import type { Command } from "../command.ts";
import { durationText } from "../output.ts";
import { CHANGE_OPTIONS, changeFacts } from "./change-options.ts";
import { followRollout } from "./rollout-progress.ts";

export const secretSet: Command = {
  usage: "secret set <app> <name>",
  summary: "Set a secret from standard input or a prompt; a deployed app gets a new release.",
  examples: [
    "holdfast secret set storefront PAYMENT_KEY",
    "openssl rand -hex 32 | holdfast secret set storefront SESSION_KEY",
  ],
  options: CHANGE_OPTIONS,
  run: async (context, [app, name], options) => {
    if (String(name).includes("=")) {
      throw invalid("secret.in_argv", "a secret's value does not belong on the command line", {
        hint: `give it on standard input: holdfast secret set ${String(app)} ${String(name).split("=")[0]}`,
      });
    }
    const value = await readSecret(`value of ${String(name)}: `);
    const path = `/v1/apps/${context.environment}/${String(app)}/secrets/${String(name)}` as const;
    const body = { value, ...changeFacts(options) };
    return followRollout(context, await context.client.put(path, body), options);
  },
};

/** From a prompt without echo, or from standard input. */
export const readSecret = (question: string): Promise<string> =>
  process.stdin.isTTY ? prompt(question) : readAll();

export const secretList: Command = {
  usage: "secret list <app>",
  summary: "List secret names and versions, without values.",
  examples: ["holdfast secret list storefront"],
  run: async ({ client, output, environment }, [app]) => {
    const { secrets } = await client.get(`/v1/apps/${environment}/${String(app)}/secrets`);
    output.result({ secrets }, () =>
      secrets.length === 0
        ? "no secrets"
        : output.table(
            secrets.map(({ name, version, updatedAt }) => [
              name,
              `version ${version}`,
              `${durationText(Date.now() - updatedAt)} ago`,
            ]),
            ["name", "version", "set"],
          ),
    );
    return 0;
  },
};

export const secretRemove: Command = {
  usage: "secret remove <app> <name>",
  summary: "Remove a secret; a deployed app gets a new release.",
  examples: ["holdfast secret remove storefront PAYMENT_KEY"],
  run: async (context, [app, name]) => {
    const path = `/v1/apps/${context.environment}/${String(app)}/secrets/${String(name)}` as const;
    return followRollout(context, await context.client.delete(path));
  },
};

/** Asks on the terminal without showing what is typed. */
function prompt(question: string): Promise<string> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: silent, terminal: true });
  process.stderr.write(question);
  return new Promise((resolve) => {
    lines.question("", (answer) => {
      lines.close();
      process.stderr.write("\n");
      resolve(answer);
    });
  });
}

// One line break at the end is the terminal's, not the secret's.
async function readAll(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks)
    .toString("utf8")
    .replace(/\r?\n$/, "");
}
