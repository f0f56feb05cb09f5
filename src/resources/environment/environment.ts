// An environment is where apps run: production, staging and others. Apps, stores, secrets and
// settings of different environments never meet. Its class says which rules it begins with
// (environment-rules.ts).

import { z } from "zod";
import { defineKind, type SpecOf } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";

export const CLASSES = ["development", "test", "staging", "production"] as const;
export type EnvironmentClass = (typeof CLASSES)[number];

/** `{host}` stands for the host that holdfast.yaml says. */
const HOSTS = /^(?:[a-z0-9-]+[.-])?\{host\}$/;

export const hostsPattern = z
  .string()
  .regex(HOSTS, "must end in {host}, such as staging.{host} or {host}")
  .max(100);

const environmentSpec = z.strictObject({
  compute: z
    .enum(["process", "docker"])
    .describe("Where its apps run unless their manifest says otherwise."),
  class: z.enum(CLASSES).exactOptional().describe("Which rules it begins with. Default: by name."),
  hosts: hostsPattern
    .exactOptional()
    .describe("What becomes of the hosts that apps ask for, such as staging.{host}."),
});

export type EnvironmentSpec = SpecOf<typeof environmentSpec>;

export const ENVIRONMENT = defineKind<EnvironmentSpec>({
  name: "environment",
  summary: "An isolated environment for apps, such as production or staging.",
  scope: "installation",
  environmentOf: (name) => name,
  spec: environmentSpec,
});

export type Environment = Resource<EnvironmentSpec, never>;

export const classOf = ({ name, spec }: Pick<Environment, "name" | "spec">): EnvironmentClass =>
  spec.class ?? guessClass(name);

/** One of production is asked for as it is; any other has its name before it. */
export const defaultHosts = (name: string, of: EnvironmentClass): string =>
  of === "production" ? "{host}" : `${name}.{host}`;

/** By its name, where nobody says. */
export function guessClass(name: string): EnvironmentClass {
  if (/^(dev|development|preview|review)/.test(name)) return "development";
  if (/^(test|ci|qa)/.test(name)) return "test";
  if (/^(staging|stage|uat|preprod)/.test(name)) return "staging";
  return "production";
}
