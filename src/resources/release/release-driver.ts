// What a release needs from the world: where its source lies, something that turns it into an artifact,
// and somebody who can read its migrations.

import type { ByteStream } from "../../kernel/byte-stream.ts";
import type { Manifest } from "../app/manifest.ts";
import type { Artifact } from "./release.ts";

export interface BuildRequest {
  readonly environment: string;
  readonly app: string;
  readonly number: number;
  readonly manifest: Manifest;
  readonly sourceDigest: string;
  /** Built already, for another environment: nothing is to be built. */
  readonly artifact?: Artifact;
}

export type BuildOutcome =
  | { readonly outcome: "built"; readonly artifact: Artifact }
  | {
      readonly outcome: "failed";
      readonly reason: string;
      readonly hint: string;
      readonly log: readonly string[];
    };

export interface BuildState {
  readonly result: BuildOutcome | undefined;
  /** Builds before it; 0 while it runs, undefined where it was not begun. */
  readonly ahead: number | undefined;
  /** It was told to end, and has not yet. */
  readonly isEnding?: boolean;
}

/** Every method is idempotent; a build that was begun and lost is simply begun again. */
export interface ArtifactBuilder {
  observe(request: BuildRequest): Promise<BuildState>;
  /** Begins the build and returns; `observe` tells how it went. */
  start(request: BuildRequest, onEnd: () => void): Promise<void>;
  /** Ends it, also while it waits for its turn; harmless where it has ended. */
  cancel(request: BuildRequest): Promise<void>;
  /** Drops what none of these builds of the app needs; they are asked for when it comes to it. */
  prune(app: string, kept: () => readonly BuildRequest[]): Promise<void>;
}

export interface SourceUpload {
  readonly digest: string;
  readonly bytes: number;
}

export interface SourceUploads {
  /**
   * Unpacks a (gzipped) tar of the source; ends where the signal fires.
   *
   * @param who  an account; of one there are a few at once
   */
  add(archive: ByteStream, who: string, signal: AbortSignal): Promise<SourceUpload>;
  readFiles(digest: string, names: readonly string[]): Record<string, string>;
  /** Names of files that are new or different in the other source, and of those that are gone. */
  compare(
    one: string,
    other: string,
  ): Promise<{ readonly changed: readonly string[]; readonly removed: readonly string[] }>;
}

/** Something in a migration that a person should know of before it runs. */
export interface MigrationFinding {
  readonly file: string;
  readonly line: number;
  /**
   * contract: what still runs may break. lock: others wait meanwhile. unread: nobody can say what it
   * does. start: whatever runs it can't be held back.
   */
  readonly kind: "contract" | "lock" | "unread" | "start";
  readonly text: string;
}
