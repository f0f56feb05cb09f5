// Settings of one app in one environment, outside its code. Each write is a version (the
// generation); the release that it makes keeps the values it began with.

import { z } from "zod";
import { defineKind, type SpecOf } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";

const settingsSpec = z.strictObject({
  values: z.record(z.string(), z.string()).describe("Variable → value, over the manifest's."),
});

export type SettingsSpec = SpecOf<typeof settingsSpec>;

export const SETTINGS = defineKind<SettingsSpec>({
  name: "settings",
  summary: "Settings of an app, outside its code.",
  scope: "app",
  spec: settingsSpec,
  goesWithApp: true,
});

export type Settings = Resource<SettingsSpec, never>;
