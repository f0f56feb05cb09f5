// A repository whose pushes are deployed: one branch of it, to one environment. It lies with GitHub,
// GitLab or Gitea, which tell of a push by a signed webhook and are told what became of it.

import { z } from "zod";
import { defineKind, type SpecOf, sealed } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";

export const PROVIDERS = ["github", "gitlab", "gitea"] as const;
export type Provider = (typeof PROVIDERS)[number];

const LOOPBACK = /^(localhost|.*\.localhost|127\.\d+\.\d+\.\d+|0\.0\.0\.0|\[::1?\]|\[::ffff:.*\])$/;

export const isLoopback = (url: string): boolean => LOOPBACK.test(new URL(url).hostname);

const remoteUrl = z
  .url({ protocol: /^https?$/ })
  .max(1_000)
  .refine((url) => new URL(url).username === "" && new URL(url).password === "", {
    message: "a credential does not belong in the address: give it on standard input",
  })
  .refine((url) => url.startsWith("https:") || isLoopback(url), {
    message: "must be https: a token would go over the network as it is",
  })
  .refine((url) => !/[?#]/.test(url), { message: "has no place for ? and #" });

const FOLDER = /^(?!.*(^|\/)\.\.?(\/|$))[A-Za-z0-9._@+-]+(\/[A-Za-z0-9._@+-]+)*$/;

export const repositoryInput = z.strictObject({
  environment: z.string().max(30),
  url: remoteUrl.describe("Where it is cloned from."),
  provider: z.enum(PROVIDERS).optional().describe("Default: what the address says."),
  branch: z
    .string()
    .regex(/^(?![-/.])(?!.*(\.\.|\/\/|@\{|\.lock$|\/$))[A-Za-z0-9._/@+-]{1,200}$/, {
      message: "must be the name of a branch",
    })
    .default("main"),
  folder: z
    .string()
    .max(500)
    .regex(FOLDER, { message: "must be a path inside the repository, such as services/web" })
    .optional()
    .describe("Of the app inside it; default: its top folder."),
  api: remoteUrl.optional().describe("Of the provider; default: what the address says."),
  token: z
    .string()
    .regex(/^[\x21-\x7e]{1,2000}$/, { message: "must be one word of printable characters" })
    .optional()
    .describe("Reads the repository and writes statuses; default: the one that was given before."),
});

const repositorySpec = z.strictObject({
  environment: z.string(),
  url: z.string(),
  provider: z.enum(PROVIDERS),
  branch: z.string(),
  folder: z.string().exactOptional(),
  api: z.string(),
  token: sealed("token").exactOptional().describe("Version of the sealed token."),
  connectedBy: z.string(),
});

export type RepositorySpec = SpecOf<typeof repositorySpec>;

export const REPOSITORY = defineKind<RepositorySpec>({
  name: "repository",
  summary: "A connected repository: one branch, deployed to one environment.",
  scope: "installation",
  environmentOf: (_name, { environment }) => environment,
  spec: repositorySpec,
});

export type Repository = Resource<RepositorySpec, never>;

/** What an address says of itself; undefined: nothing. */
export function providerOf(url: string): Provider | undefined {
  const { hostname } = new URL(url);
  return PROVIDERS.find((one) => hostname === `${one}.com` || hostname.startsWith(`${one}.`));
}

export function apiOf(provider: Provider, url: string): string {
  const { origin, hostname } = new URL(url);
  if (provider === "github" && hostname === "github.com") return "https://api.github.com";
  return `${origin}/api/${{ github: "v3", gitlab: "v4", gitea: "v1" }[provider]}`;
}

/** `acme/shop` of `https://github.com/acme/shop.git`. */
export const projectOf = (url: string): string =>
  new URL(url).pathname.replace(/^\/+|\/+$/g, "").replace(/\.git$/, "");
