// What belongs to apps, as files have it: connected repositories, and settings.

import { z } from "zod";
import { invalid } from "../../kernel/error.ts";
import {
  apiOf,
  isLoopback,
  providerOf,
  REPOSITORY,
  type RepositorySpec,
  repositoryInput,
} from "../../resources/repository/repository.ts";
import { SETTINGS, type SettingsSpec } from "../../resources/settings/settings.ts";
import { findEnvironment } from "../environment-view.ts";
import { declared, NAMES, sealedInput } from "./declared-kind.ts";

const settingsInput = z.strictObject({
  values: z.record(
    z.string(),
    z.union([z.string().max(64 * 1024), z.number(), z.boolean()]).transform(String),
  ),
});

const settings = declared<z.output<typeof settingsInput>, SettingsSpec>({
  kind: SETTINGS,
  names: NAMES.ofEnvironment,
  input: settingsInput,
  action: "config",
  show: (spec) => spec,
  specOf: ({ deps, name, input }) => {
    findEnvironment(deps.store, name.split("/")[0] ?? "");
    return input;
  },
  changeOf: (name, spec, before) => {
    const gone = Object.keys(before?.values ?? {}).map((key) => [key, null] as const);
    return {
      action: "config",
      app: name.split("/")[1] ?? "",
      changes: { ...Object.fromEntries(gone), ...spec?.values },
    };
  },
});

const repositoryFile = repositoryInput.extend({
  token: sealedInput(repositoryInput.shape.token.unwrap()).describe(
    "Reads the repository and writes statuses: { $env: VARIABLE }; default: the one that is kept.",
  ),
});

const repository = declared<z.output<typeof repositoryFile>, RepositorySpec>({
  kind: REPOSITORY,
  names: NAMES.name,
  input: repositoryFile,
  action: "deploy",
  sealed: { key: "token", absent: "kept" },
  show: ({ token, connectedBy: _, ...rest }) => ({
    ...rest,
    ...(token && { token: { version: token.version } }),
  }),
  specOf: ({ deps, input, before, sealed, value, actor }) => {
    const { environment, url, branch, folder } = input;
    findEnvironment(deps.store, environment);
    const provider = input.provider ?? providerOf(url);
    if (!provider)
      throw invalid("repository.unknown_provider", `${url} does not say whose it is`, {
        hint: "--provider github, gitlab or gitea (Forgejo, too)",
      });
    const api = (input.api ?? apiOf(provider, url)).replace(/\/+$/, "");
    // Nobody else has us ask the machine's own programs.
    if (actor.kind !== "owner" && [url, api].some(isLoopback))
      throw invalid("repository.own_forbidden", `${url} is this machine itself`, {
        hint: "only its owner can connect what runs here",
      });
    // Another address gets no token that was given for this one.
    const isSame =
      before !== undefined &&
      before.provider === provider &&
      new URL(before.url).origin === new URL(url).origin &&
      new URL(before.api).origin === new URL(api).origin;
    const token = value !== undefined || isSame ? sealed : undefined;
    return {
      environment,
      url,
      provider,
      branch,
      ...(folder !== undefined && { folder }),
      api,
      ...(token && { token: { secret: "token" as const, version: token.version } }),
      connectedBy: before?.connectedBy ?? actor.name,
    };
  },
  look: async (deps, { url, branch, provider }, token, signal) => ({
    head: await deps.repositories.head({ url, branch, provider, token }, signal),
  }),
});

export const APP_KINDS = [repository, settings] as const;
