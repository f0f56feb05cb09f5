// What a provider says of a push, and what it is told of it.

import type { Provider } from "../repository/repository.ts";
import type { CommitState } from "./push.ts";

/** As its webhook says it. */
export interface PushEvent {
  readonly ref: string;
  readonly commit: string;
  readonly project: string;
  readonly message: string;
  readonly pusher: string;
  readonly authors: readonly string[];
  readonly delivery: string;
  readonly bodyDigest: string;
}

export interface ForgeTarget {
  readonly provider: Provider;
  /** Base address of its API. */
  readonly api: string;
  /** `acme/shop` */
  readonly project: string;
  readonly token: string;
  readonly environment: string;
  readonly isProduction: boolean;
}

export interface CommitNews {
  readonly commit: string;
  readonly branch: string;
  readonly state: CommitState;
  /** Under which the commit shows it: `holdfast/staging`. */
  readonly context: string;
  readonly description: string;
  /** Where the app answers. */
  readonly url?: string | undefined;
  /** The provider's id of the deployment, where there is one already. */
  readonly deployment?: string | undefined;
}
