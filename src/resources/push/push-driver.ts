// What a provider is told of a push.

import type { Provider } from "../repository/repository.ts";
import type { CommitState } from "./push.ts";

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
