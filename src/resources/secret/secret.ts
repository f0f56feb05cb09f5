// A secret of one app in one environment: here is only which version is current. Values are sealed
// in the vault, and a rotation is the next version.

import { defineKind } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";

export const SECRET = defineKind<SecretSpec>({ name: "secret", scope: "app", goesWithApp: true });

export interface SecretSpec {
  readonly version: number;
}

export type Secret = Resource<SecretSpec, never>;

export const secretResourceName = (appName: string, name: string): string => `${appName}/${name}`;
