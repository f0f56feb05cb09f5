// An environment is where apps run: production, staging and others. Apps, stores, secrets and
// settings of different environments never meet. Its class says which rules it begins with
// (environment-rules.ts).

import { z } from "zod";
import { defineKind } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";
import type { ComputeTechnology } from "../app/app-driver.ts";

export const ENVIRONMENT = defineKind<EnvironmentSpec>({
  name: "environment",
  scope: "installation",
});

export const CLASSES = ["development", "test", "staging", "production"] as const;
export type EnvironmentClass = (typeof CLASSES)[number];

/** `{host}` stands for the host that holdfast.yaml says. */
const HOSTS = /^(?:[a-z0-9-]+[.-])?\{host\}$/;

export const hostsPattern = z
  .string()
  .regex(HOSTS, "must end in {host}, such as staging.{host} or {host}")
  .max(100);

export interface EnvironmentSpec {
  /** Where its apps run unless they say otherwise. */
  readonly compute: ComputeTechnology;
  /** Of an earlier build: by its name. */
  readonly class?: EnvironmentClass;
  /** What becomes of the hosts that apps ask for: `staging.{host}`. */
  readonly hosts?: string;
}

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
