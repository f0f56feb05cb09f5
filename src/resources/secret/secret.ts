// A secret of one app in one environment: here is only which version is current. Values are sealed
// in the vault, and a rotation is the next version.

import { z } from "zod";
import { defineKind, type SpecOf } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";

const secretSpec = z.strictObject({
  version: z.number().int().describe("The version that is current."),
});

export type SecretSpec = SpecOf<typeof secretSpec>;

export const SECRET = defineKind<SecretSpec>({
  name: "secret",
  summary: "The current version of a secret; values are sealed in the vault.",
  scope: "app",
  spec: secretSpec,
  goesWithApp: true,
});

export type Secret = Resource<SecretSpec, never>;

export const secretResourceName = (appName: string, name: string): string => `${appName}/${name}`;
