// An environment is where apps run: production, and later staging and others. Apps, stores and
// secrets of different environments never meet.

import type { Resource } from "../../kernel/resource.ts";
import type { ComputeTechnology } from "../app/app-reconciler.ts";

export const ENVIRONMENT = "environment";
export const DEFAULT_ENVIRONMENT = "production";

export interface EnvironmentSpec {
  /** Where its apps run unless they say otherwise. */
  readonly compute: ComputeTechnology;
}

export type Environment = Resource<EnvironmentSpec, never>;
