import { createInterface } from "node:readline/promises";
import { invalid, transient } from "../../kernel/error.ts";
import type { Command } from "../command.ts";

const TIMEOUT_MS = 120_000;
const POLL_MS = 200;

export const destroy: Command = {
  usage: "destroy <app>",
  summary: "Remove an app; its data is kept unless --delete-data is given.",
  details:
    "Asks for the app's name as confirmation. --delete-data also drops its database, keys and secrets.",
  examples: [
    "holdfast destroy storefront",
    "holdfast destroy storefront --confirm storefront --delete-data storefront",
  ],
  options: [
    { flags: "--confirm <name>", description: "the app's name, for scripts" },
    { flags: "--delete-data <name>", description: "also drop its data; repeat the app's name" },
  ],
  run: async ({ client, output, environment }, [app], options) => {
    const name = String(app);
    const data = options["deleteData"];
    if (data !== undefined && data !== name) {
      throw invalid(
        "app.not_confirmed",
        `--delete-data ${String(data)} is not the name of the app`,
        { hint: `--delete-data ${name}` },
      );
    }
    await client.get(`/v1/apps/${environment}/${name}`);
    const confirm =
      options["confirm"] ??
      (process.stdin.isTTY
        ? await ask(`to destroy ${name} in ${environment}, type its name: `)
        : "");
    await client.delete(`/v1/apps/${environment}/${name}`, {
      confirm: String(confirm),
      data: data !== undefined,
    });
    output.progress(`${name} drains and ends`);
    const deadline = Date.now() + TIMEOUT_MS;
    while (await isThere(() => client.get(`/v1/apps/${environment}/${name}`))) {
      if (Date.now() > deadline)
        throw transient("app.still_there", `${name} has not ended yet`, {
          hint: "it goes on: holdfast status",
        });
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    const rest =
      data === undefined
        ? "its data stays; a deploy under the same name finds it again"
        : "its data is gone";
    output.result(
      { destroyed: name, environment, dataDeleted: data !== undefined },
      () => `${name} is destroyed; ${rest}`,
    );
    return 0;
  },
};

async function isThere(get: () => Promise<unknown>): Promise<boolean> {
  return get().then(
    () => true,
    (error: unknown) => {
      if ((error as { code?: string }).code === "app.not_found") return false;
      throw error;
    },
  );
}

async function ask(question: string): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await lines.question(question);
  lines.close();
  return answer.trim();
}
