// What a release needs from the world: something that turns source into an artifact.

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
