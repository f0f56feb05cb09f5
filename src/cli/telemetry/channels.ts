// Where alerts go. Addresses are secrets: they come from standard input or a prompt.

import { readSecret } from "../app/secret.ts";
import type { Command } from "../command.ts";

export const channelAdd: Command = {
  usage: "channel add <name>",
  summary: "Create or update a notification channel; its address is read from standard input.",
  details:
    "The address is the URL of a chat webhook, ntfy topic or HTTP endpoint; for email it is the mail server: smtp://user:password@host:587.",
  examples: [
    "holdfast channel add chat --type slack",
    "echo smtp://127.0.0.1:25 | holdfast channel add mail --type email --to ops@example.com",
    "holdfast channel add pager --type webhook --severity page",
  ],
  options: [
    {
      flags: "--type <type>",
      description: "email, slack, discord, teams, ntfy, webhook, alertmanager",
    },
    { flags: "--to <mailbox>", description: "email: the recipient" },
    { flags: "--severity <severity>", description: "page or ticket only; default: both" },
  ],
  run: async ({ client, output }, [name], options) => {
    const severity = options["severity"];
    const address = (await readSecret("address: ")).trim();
    const made = await client.put(`/v1/channels/${encodeURIComponent(String(name))}`, {
      type: options["type"],
      to: options["to"],
      address,
      ...(severity !== undefined && { severities: [severity] }),
    });
    output.result(made, () =>
      [
        `${made.name} is told of alerts; try it: holdfast channel test ${made.name}`,
        ...(made.signingKey === undefined
          ? []
          : [`its deliveries are signed (Standard Webhooks) with ${made.signingKey}`]),
      ].join("\n"),
    );
    return 0;
  },
};

export const channelList: Command = {
  usage: "channel list",
  summary: "List channels and their severities, without addresses.",
  examples: ["holdfast channel list"],
  run: async ({ client, output }) => {
    const facts = await client.get("/v1/channels");
    output.result(facts, () =>
      facts.channels.length === 0
        ? "nobody is told of alerts yet: holdfast channel add"
        : output.table(
            facts.channels.map(({ name, type, severities, to }) => [
              name,
              type,
              severities.join(", "),
              to ?? "",
            ]),
            ["channel", "type", "told of", "to"],
          ),
    );
    return 0;
  },
};

export const channelTest: Command = {
  usage: "channel test <name>",
  summary: "Send a test alert to a channel.",
  examples: ["holdfast channel test chat"],
  run: async ({ client, output }, [name]) => {
    const told = await client.post(`/v1/channels/${encodeURIComponent(String(name))}/test`);
    output.result(told, () => `${String(name)} took it`);
    return 0;
  },
};

export const channelRemove: Command = {
  usage: "channel remove <name>",
  summary: "Remove a channel.",
  examples: ["holdfast channel remove chat"],
  run: async ({ client, output }, [name]) => {
    const gone = await client.delete(`/v1/channels/${encodeURIComponent(String(name))}`);
    output.result(gone, () => `${String(name)} is told of nothing any more`);
    return 0;
  },
};
