// Settings of one app in one environment, outside its code. Each write is a version (the
// generation); the release that it makes keeps the values it began with.

import { defineKind } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";

export const SETTINGS = defineKind<SettingsSpec>({
  name: "settings",
  scope: "app",
  goesWithApp: true,
});

export interface SettingsSpec {
  readonly values: Readonly<Record<string, string>>;
}

export type Settings = Resource<SettingsSpec, never>;
