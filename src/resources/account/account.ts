// Who may do what: people and service accounts with roles per environment, and their tokens. Without
// a role an account may do nothing.

import { z } from "zod";
import { defineKind, type SpecOf } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";

export const ROLES = ["viewer", "auditor", "developer", "operator", "approver", "admin"] as const;
export type Role = (typeof ROLES)[number];

/** Stands for every environment, and for what belongs to none. */
export const EVERYWHERE = "*";
/** Whoever can open the socket: the user who owns the installation. */
export const OWNER = "owner";

export const accountName = z
  .string()
  .regex(
    /^[a-z0-9][a-z0-9._@+-]{0,62}$/,
    "must be lowercase letters, digits and . _ @ + -, up to 63 of them",
  )
  .refine((name) => ![OWNER, "admin", "holdfast"].includes(name), "is the installation's own name");

export const rolesByEnvironment = z
  .record(z.string().max(30), z.array(z.enum(ROLES)).max(ROLES.length))
  .describe("Environment, or * for all, → roles.");

const accountSpec = z.strictObject({
  kind: z.enum(["person", "service"]),
  roles: rolesByEnvironment,
  disabled: z.boolean(),
});

export type AccountSpec = SpecOf<typeof accountSpec>;

export const ACCOUNT = defineKind<AccountSpec>({
  name: "account",
  summary: "A person or a service account, with its roles in each environment.",
  scope: "installation",
  spec: accountSpec,
});

export type Account = Resource<AccountSpec, never>;

/** `staging/developer` for each role in each environment that there is. */
export function grantsOf(
  roles: AccountSpec["roles"],
  environments: readonly string[],
): readonly string[] {
  return Object.entries(roles).flatMap(([environment, own]) =>
    own.flatMap((role) =>
      environment === EVERYWHERE
        ? [EVERYWHERE, ...environments].map((one) => `${one}/${role}`)
        : [`${environment}/${role}`],
    ),
  );
}

/** What is left of them within a token's scope; `*` before the slash in it stands for every environment. */
export function withinScope(
  grants: readonly string[],
  scope: readonly string[],
): readonly string[] {
  if (scope.length === 0) return grants;
  return grants.filter((grant) => {
    const role = grant.split("/")[1];
    return scope.includes(grant) || scope.includes(`${EVERYWHERE}/${role}`);
  });
}
