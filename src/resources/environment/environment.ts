// An environment is where apps run: production, and later staging and others. Apps, stores and
// secrets of different environments never meet.

import type { ComputeTechnology } from "../app/app-reconciler.ts";

export const ENVIRONMENT = "environment";

export interface EnvironmentSpec {
  /** Where its apps run unless they say otherwise. */
  readonly compute: ComputeTechnology;
}
