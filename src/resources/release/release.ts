// A release is immutable: what was built (by content digest), the configuration and secret versions
// it runs with, and the app's own description. It is numbered per app and never edited; going back
// means pointing the app at an older one.

import { z } from "zod";
import { defineKind, type SpecOf } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";
import { storedManifest } from "../app/manifest.ts";

const artifact = z.strictObject({
  kind: z.enum(["directory", "image"]),
  digest: z.string().describe("sha256 over the content (directory), or the image's id."),
});

export type Artifact = SpecOf<typeof artifact>;

/** What is known of a release's migrations before they run. */
export const migrationFacts = z.strictObject({
  contracts: z
    .array(z.string())
    .optional()
    .describe("What they take away from the release before it."),
  rehearse: z
    .enum(["refuse", "note"])
    .optional()
    .describe(
      "Its release command runs on a copy of the schema first, since its source is not that of the release before it. refuse: what takes something away is not run on the data.",
    ),
});

export type MigrationFacts = SpecOf<typeof migrationFacts>;

/** Whose work a source is, and where it comes from. */
const source = z.strictObject({
  digest: z.string(),
  bytes: z.number(),
  commit: z.string().optional(),
  uncommitted: z
    .boolean()
    .exactOptional()
    .describe("That commit, and changes that nobody committed."),
  authors: z
    .array(z.string())
    .exactOptional()
    .describe(
      "Whose work it is, in small letters: wherever it is promoted to, they can't approve it.",
    ),
  ...migrationFacts.shape,
  committedAt: z
    .number()
    .optional()
    .describe("ms since the epoch, where it comes from a repository."),
  push: z.string().exactOptional().describe("The push that it was deployed by."),
  folder: z
    .string()
    .optional()
    .describe("Name of the folder that it was; an app without a name has it from there."),
  inferred: z.array(z.string()).describe("What was concluded from its files, in sentences."),
});

const releaseSpec = z.strictObject({
  environment: z.string(),
  app: z.string(),
  number: z.number().int(),
  reason: z.enum(["deploy", "promote", "config", "secret"]),
  manifest: storedManifest,
  source,
  config: z
    .strictObject({
      version: z.number().int(),
      values: z.record(z.string(), z.string()),
      set: z
        .record(z.string(), z.string())
        .describe("Those of them that were set, over the manifest's."),
    })
    .describe(
      "Settings of this release: those of the manifest, overridden by those that were set.",
    ),
  secrets: z
    .record(z.string(), z.number().int())
    .describe("Secret name → version. Values are only in the vault."),
  createdBy: z.string(),
  promotedFrom: z
    .strictObject({ environment: z.string(), release: z.number().int(), artifact })
    .exactOptional()
    .describe("Runs what was built for that release: the same artifact, digest for digest."),
});

export type ReleaseSpec = SpecOf<typeof releaseSpec>;

export interface ReleaseStatus {
  readonly phase: "building" | "ready" | "failed";
  readonly artifact?: Artifact;
  readonly builtInMs?: number;
  readonly startedAt?: number;
  /** Builds that come before its own. */
  readonly ahead?: number;
  readonly failure?: {
    readonly reason: string;
    readonly hint: string;
    readonly log: readonly string[];
  };
}

export type Release = Resource<ReleaseSpec, ReleaseStatus>;

export const RELEASE = defineKind<ReleaseSpec, ReleaseStatus>({
  name: "release",
  summary: "An immutable release: artifact, settings, secret versions, manifest.",
  scope: "app",
  spec: releaseSpec,
  wakes: [{ kind: "app", on: "status", name: (name) => name.split("/").slice(0, 2).join("/") }],
});

export const releaseName = (app: string, number: number): string =>
  `${app}/${String(number).padStart(6, "0")}`;
