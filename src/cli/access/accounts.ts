// Accounts, roles and tokens.

import type { AccountSpec } from "../../api/account-routes.ts";
import { invalid } from "../../kernel/error.ts";
import { listOf } from "../app/change.ts";
import { CONTROL_OPTIONS, controlFacts, waitingText } from "../app/change-options.ts";
import type { Command } from "../command.ts";
import { durationText } from "../output.ts";

const rolesText = (roles: AccountSpec["roles"]): string =>
  Object.entries(roles)
    .flatMap(([environment, own]) => own.map((role) => `${environment}/${role}`))
    .join(", ") || "no role";

export const accountList: Command = {
  usage: "account list",
  summary: "List people and service accounts with their roles.",
  examples: ["holdfast account list"],
  run: async ({ client, output }) => {
    const facts = await client.get("/v1/accounts");
    output.result(facts, () =>
      facts.accounts.length === 0
        ? "no accounts: only the owner of the installation"
        : output.table(
            facts.accounts.map(({ name, kind, roles, disabled, tokens }) => [
              name,
              disabled ? output.paint("red", "disabled") : kind,
              `${tokens} tokens`,
              rolesText(roles),
            ]),
            ["account", "kind", "", "roles"],
          ),
    );
    return 0;
  },
};

export const accountSet: Command = {
  usage: "account set <name>",
  summary: "Create an account or change its roles.",
  details:
    "Roles are viewer, auditor, developer, operator, approver and admin, per environment; * means all. Without --role the roles are kept. Additional roles in a protected environment require an approval, unless the owner of the installation grants them.",
  examples: [
    "holdfast account set ana@example.com --role staging/operator,production/approver",
    "holdfast account set ci --service --role staging/developer,production/developer",
  ],
  options: [
    {
      flags: "--role <roles>",
      description: "all roles as environment/role, comma-separated",
    },
    { flags: "--service", description: "a service account" },
    { flags: "--disable", description: "disable the account and its tokens" },
    { flags: "--enable", description: "enable the account and its tokens" },
    ...CONTROL_OPTIONS,
  ],
  run: async ({ client, output }, [name], options) => {
    const roles = options["role"] === undefined ? undefined : parseRoles(String(options["role"]));
    const disabled =
      options["disable"] === true ? true : options["enable"] === true ? false : undefined;
    const made = await client.put(`/v1/accounts/${encodeURIComponent(String(name))}`, {
      ...(roles && { roles }),
      ...(options["service"] === true && { kind: "service" }),
      ...(disabled !== undefined && { disabled }),
      ...controlFacts(options),
    });
    output.result(made, () =>
      made.pending === undefined
        ? [`${made.name} (${made.kind}): ${rolesText(made.roles)}`, waitingText(made, output)]
            .filter(Boolean)
            .join("\n")
        : (waitingText(made, output) ?? ""),
    );
    return 0;
  },
};

function parseRoles(text: string): Record<string, string[]> {
  const roles: Record<string, string[]> = {};
  for (const one of text.split(",").map((part) => part.trim())) {
    if (one === "" || one === "none") continue;
    const [environment = "", role, ...rest] = one.split("/");
    if (role === undefined || rest.length > 0)
      throw invalid("account.bad_role", `"${one}" is not environment/role`, {
        hint: "for example: staging/developer, or */viewer",
      });
    roles[environment] = [...(roles[environment] ?? []), role];
  }
  return roles;
}

export const accountRemove: Command = {
  usage: "account remove <name>",
  summary: "Remove an account and its tokens; audit events are kept.",
  examples: ["holdfast account remove ana@example.com"],
  run: async ({ client, output }, [name]) => {
    const facts = await client.delete(`/v1/accounts/${encodeURIComponent(String(name))}`);
    output.result(facts, () => `${String(name)} is removed`);
    return 0;
  },
};

export const tokenCreate: Command = {
  usage: "token create [account]",
  summary: "Create a token for yourself or an account; it is shown once.",
  details:
    "It has the account's roles, or only those of --scope, and expires after --expires. A token created for somebody else cannot approve, reject or review until its holder accepts it: holdfast token accept.",
  examples: [
    "holdfast token create ci --scope staging/developer,production/developer --expires 30d --label pipeline",
  ],
  options: [
    { flags: "--scope <roles>", description: "only these of its roles, comma-separated" },
    { flags: "--expires <duration>", description: "such as 12h or 30d; default: 90d" },
    { flags: "--label <text>", description: "purpose of the token" },
  ],
  run: async ({ client, output }, [account], { scope, expires, label }) => {
    const made = await client.post(
      account === undefined
        ? "/v1/tokens"
        : `/v1/accounts/${encodeURIComponent(String(account))}/tokens`,
      {
        ...(scope !== undefined && { scope: listOf(String(scope).split(",")) }),
        ...(expires !== undefined && { expires: String(expires) }),
        ...(label !== undefined && { label: String(label) }),
      },
    );
    output.progress(
      `  valid until ${new Date(made.expiresAt).toISOString()}; keep it, it is not shown again`,
    );
    output.result(made, () => made.token);
    return 0;
  },
};

export const tokenAccept: Command = {
  usage: "token accept",
  summary: "Accept a token that somebody created for you; it is replaced with a new one.",
  examples: ["HOLDFAST_TOKEN=… holdfast token accept"],
  run: async ({ client, output }) => {
    const made = await client.post("/v1/tokens/accept");
    output.progress(
      `  the old one no longer works; this one is valid until ${new Date(made.expiresAt).toISOString()}`,
    );
    output.result(made, () => made.token);
    return 0;
  },
};

export const tokenList: Command = {
  usage: "token list",
  summary: "List tokens with account, purpose, expiry and last use.",
  examples: ["holdfast token list"],
  run: async ({ client, output }) => {
    const facts = await client.get("/v1/tokens");
    const now = Date.now();
    output.result(facts, () =>
      facts.tokens.length === 0
        ? "no tokens"
        : output.table(
            facts.tokens.map((one) => [
              one.id,
              one.account,
              one.label,
              one.scope.join(", ") || "all its roles",
              one.madeBy === undefined ? "" : `made by ${one.madeBy}, not accepted`,
              one.expired
                ? output.paint("red", "expired")
                : `ends in ${durationText(one.expiresAt - now)}`,
              one.lastUsedAt === undefined
                ? "never used"
                : `used ${durationText(now - one.lastUsedAt)} ago`,
            ]),
            ["id", "account", "label", "scope", "", "", ""],
          ),
    );
    return 0;
  },
};

export const tokenRevoke: Command = {
  usage: "token revoke <id>",
  summary: "Revoke a token immediately.",
  examples: ["holdfast token revoke 8f1c2a"],
  run: async ({ client, output }, [id]) => {
    const facts = await client.delete(`/v1/tokens/${encodeURIComponent(String(id))}`);
    output.result(facts, () => `token ${String(id)} is revoked`);
    return 0;
  },
};

export const whoami: Command = {
  usage: "whoami",
  summary: "Show your account and permissions.",
  examples: ["holdfast whoami"],
  run: async ({ client, output }) => {
    const facts = await client.get("/v1/whoami");
    output.result(facts, () =>
      [
        `${output.paint("bold", facts.name)} (${facts.kind})`,
        ...Object.entries(facts.environments).map(
          ([environment, actions]) => `  ${environment}: ${actions.join(", ") || "nothing"}`,
        ),
      ].join("\n"),
    );
    return 0;
  },
};
