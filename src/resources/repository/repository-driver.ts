// What connected repositories need from the world: the repositories elsewhere, and those that are
// pushed to here.

import type { ByteStream } from "../../kernel/byte-stream.ts";
import type { Redacted } from "../../kernel/redacted.ts";
import type { Provider } from "./repository.ts";

/** Deliveries of a repository's webhook that were not taken, since the control plane started. */
export interface RefusedDeliveries {
  readonly count: number;
  readonly lastAt: number;
  readonly why: string;
}

export interface RemoteBranch {
  readonly url: string;
  readonly branch: string;
  readonly provider: Provider;
  readonly token: Redacted | undefined;
}

/** Repositories elsewhere. Both throw repository.refused, .not_found, .no_branch and .away. */
export interface RemoteRepositories {
  /** The commit that the branch points at. */
  head(remote: RemoteBranch, signal?: AbortSignal): Promise<string>;
  fetch(
    name: string,
    remote: RemoteBranch,
    folder: string | undefined,
    signal: AbortSignal,
  ): Promise<{
    readonly commit: string;
    /** ms since the epoch */
    readonly committedAt: number;
    /** Its files, as a tar; nothing is read before it is asked for. */
    readonly archive: () => ByteStream;
  }>;
  remove(name: string): void;
}

export interface GitRequest {
  readonly environment: string;
  readonly app: string;
  /** `info/refs`, `git-receive-pack`, `git-upload-pack` */
  readonly path: string;
  readonly method: "GET" | "POST";
  readonly query: string;
  readonly contentType: string | undefined;
  readonly contentEncoding: string | undefined;
  /** What the client says it speaks: `version=2`. */
  readonly protocol: string | undefined;
  readonly body: ByteStream | undefined;
  readonly actor: string;
  readonly from: string;
  readonly token: Redacted;
  readonly signal: AbortSignal;
}

export interface GitAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: ByteStream;
}

/** Repositories that are pushed to here. */
export interface GitServer {
  has(environment: string, app: string): boolean;
  ensure(environment: string, app: string): Promise<void>;
  serve(request: GitRequest): Promise<GitAnswer>;
}
