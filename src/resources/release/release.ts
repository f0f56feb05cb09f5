// A release is immutable: what was built (by content digest), the configuration and secret versions
// it runs with, and the app's own description. It is numbered per app and never edited; going back
// means pointing the app at an older one.

import { defineKind } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";
import type { Manifest } from "../app/manifest.ts";

export interface Artifact {
  readonly kind: "directory" | "image";
  /** sha256 over the content (directory) or the image id. */
  readonly digest: string;
}

/** What is known of a release's migrations before they run. */
export interface MigrationFacts {
  /** What they take away from the release before it. */
  readonly contracts?: readonly string[] | undefined;
  /**
   * Its release command runs on a copy of the schema first, since its source is not that of the
   * release before it. refuse: what takes something away is not run on the data.
   */
  readonly rehearse?: "refuse" | "note" | undefined;
}

export interface ReleaseSpec {
  readonly environment: string;
  readonly app: string;
  readonly number: number;
  readonly reason: "deploy" | "promote" | "config" | "secret";
  readonly manifest: Manifest;
  readonly source: {
    readonly digest: string;
    readonly bytes: number;
    readonly commit?: string | undefined;
    /** That commit, and changes that nobody committed. */
    readonly uncommitted?: boolean;
    /** Whose work it is, in small letters: wherever it is promoted to, they can't approve it. */
    readonly authors?: readonly string[];
    readonly contracts?: MigrationFacts["contracts"];
    readonly rehearse?: MigrationFacts["rehearse"];
    /** ms since the epoch, where it comes from a repository. */
    readonly committedAt?: number | undefined;
    /** The push that it was deployed by. */
    readonly push?: string;
    /** Name of the folder that it was; an app without a name has it from there. */
    readonly folder?: string | undefined;
    readonly inferred: readonly string[];
  };
  /** Settings of this release: those of the manifest, overridden by those that were set. */
  readonly config: {
    readonly version: number;
    readonly values: Readonly<Record<string, string>>;
    /** Those of them that were set, over the manifest's. */
    readonly set: Readonly<Record<string, string>>;
  };
  /** Secret name → version. Values are only in the vault. */
  readonly secrets: Readonly<Record<string, number>>;
  readonly createdBy: string;
  /** Runs what was built for that release: the same artifact, digest for digest. */
  readonly promotedFrom?: {
    readonly environment: string;
    readonly release: number;
    readonly artifact: Artifact;
  };
}

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

export const RELEASE = defineKind<ReleaseSpec, ReleaseStatus>({ name: "release", scope: "app" });

export const releaseName = (app: string, number: number): string =>
  `${app}/${String(number).padStart(6, "0")}`;
