// Repositories whose pushes are deployed.

import type { ConnectedView, PushView, RepositoryReport } from "../../api/repository-routes.ts";
import { doneText } from "../app/change-options.ts";
import { readSecret } from "../app/secret.ts";
import type { Command } from "../command.ts";
import { durationText, type Output } from "../output.ts";

const pathOf = (name: unknown) => `/v1/repositories/${encodeURIComponent(String(name))}` as const;

export const repositoryConnect: Command = {
  usage: "repository connect <name> <url>",
  summary: "Deploy pushes to a branch of a GitHub, GitLab or Gitea repository.",
  details:
    "Pushes act as the account repository:<name> with the role developer: if that role may only request changes, each push becomes a change that needs approval. --token reads a token from standard input; it gives access to a private repository and reports commit and deployment statuses.",
  examples: [
    "holdfast repository connect storefront https://github.com/acme/storefront.git --env staging",
    "holdfast repository connect storefront https://git.example.com/acme/shop.git --provider gitea --branch release --token < token",
  ],
  options: [
    { flags: "--provider <name>", description: "github, gitlab or gitea; default: from the URL" },
    { flags: "--branch <name>", description: "branch to deploy; default: main" },
    {
      flags: "--folder <path>",
      description: "folder of the app inside the repository; default: the root",
    },
    { flags: "--api <url>", description: "base URL of the provider's API; default: from the URL" },
    { flags: "--token", description: "read a token from standard input" },
  ],
  run: async ({ client, output, environment }, [name, url], options) => {
    const { provider, branch, folder, api } = options;
    const token = options["token"] === true ? (await readSecret("token: ")).trim() : undefined;
    const made = await client.put(pathOf(name), {
      environment,
      url: String(url),
      ...(provider !== undefined && { provider }),
      ...(branch !== undefined && { branch }),
      ...(folder !== undefined && { folder }),
      ...(api !== undefined && { api }),
      ...(token !== undefined && { token }),
    });
    output.result(made, () => doneText(connectedText(made, output), made, output));
    return 0;
  },
};

function connectedText(made: ConnectedView, output: Output): string {
  const { webhook, secret, branch, environment, head, provider } = made;
  return [
    `${output.paint("green", "✓")} pushes to ${branch} of ${made.url} are deployed to ${environment} (it is at ${head.slice(0, 12)})`,
    `  add a webhook there (${WHERE[provider]}):`,
    `    address       ${webhook}`,
    `    secret        ${secret}`,
    `    content type  application/json, event: push`,
    ...(made.hasToken
      ? []
      : ["  without a token nothing is told back: holdfast repository connect … --token < token"]),
    ...(made.reachable
      ? []
      : [
          `  ${output.paint("yellow", "!")} only this machine reaches that address: HOLDFAST_API_HOST=<host> holdfast up shows the API at the edge`,
        ]),
  ].join("\n");
}

const WHERE: Readonly<Record<string, string>> = {
  github: "Settings, Webhooks",
  gitlab: "Settings, Webhooks: as secret token or signing token",
  gitea: "Settings, Webhooks, Gitea",
};

export const repositoryList: Command = {
  usage: "repository list",
  summary: "List connected repositories and the last push of each.",
  examples: ["holdfast repository list"],
  run: async ({ client, output }) => {
    const facts = await client.get("/v1/repositories");
    output.result(facts, () =>
      facts.repositories.length === 0
        ? "no repository is connected yet: holdfast repository connect"
        : output.table(
            facts.repositories.map(({ name, url, branch, environment, last }) => [
              name,
              `${url} ${branch}`,
              environment,
              last ? `${last.commit.slice(0, 12)} ${last.phase}, ${ago(last.receivedAt)}` : "none",
            ]),
            ["repository", "branch", "environment", "last push"],
          ),
    );
    return 0;
  },
};

export const repositoryShow: Command = {
  usage: "repository show <name>",
  summary: "Show a repository, its last pushes and their outcome.",
  examples: ["holdfast repository show storefront"],
  run: async ({ client, output }, [name]) => {
    const one = await client.get(pathOf(name));
    output.result(one, () => reportText(one, output));
    return 0;
  },
};

const SHOWN = 10;

function reportText(one: RepositoryReport, output: Output): string {
  const { refused } = one;
  return [
    `${one.name}  ${one.branch} of ${one.url} goes to ${one.environment}`,
    `webhook  ${one.webhook}${one.hasToken ? "" : "  (no token: nothing is told back)"}`,
    ...(refused
      ? [
          `${output.paint("yellow", "!")} ${refused.count} deliveries were not taken since the control plane started, the last ${ago(refused.lastAt)}: ${refused.why}`,
        ]
      : []),
    one.pushes.length === 0
      ? "nothing was pushed yet"
      : output.table(
          one.pushes
            .slice(0, SHOWN)
            .map((push) => [
              String(push.number),
              push.commit.slice(0, 12),
              `${push.pusher}, ${ago(push.receivedAt)}`,
              push.phase,
              push.text,
              toldText(push),
            ]),
          ["push", "commit", "by", "is", "", "told"],
        ),
  ].join("\n");
}

const toldText = ({ told, problem }: PushView): string =>
  problem === undefined ? (told ?? "") : `${told ?? "nothing"}; ${problem}`;

const ago = (at: number): string => `${durationText(Date.now() - at)} ago`;

export const repositoryRemove: Command = {
  usage: "repository remove <name>",
  summary: "Disconnect a repository; running releases stay.",
  examples: ["holdfast repository remove storefront"],
  run: async ({ client, output }, [name]) => {
    const gone = await client.delete(pathOf(name));
    const done = `pushes to ${String(name)} are not deployed any more`;
    output.result(gone, () => doneText(done, gone, output));
    return 0;
  },
};
