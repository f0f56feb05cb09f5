// What HAProxy reads at its start: configuration, maps, pages and scripts.

import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { keepJson, writeWhole } from "../files.ts";
import { runbookPages } from "../runbooks.ts";
import { renderBodyLimitScript } from "./body-limit.ts";
import type { EdgeState } from "./edge-state.ts";
import { renderBodyRefused, renderErrorPages, renderNoRoutePage } from "./error-pages.ts";
import { type EdgeLayout, ERROR_STATUSES, renderConfig } from "./haproxy-config.ts";
import {
  environmentEntries,
  internalEntries,
  plainEntries,
  renderMap,
  routeEntries,
} from "./haproxy-maps.ts";
import { BODY_REFUSED } from "./pool-config.ts";
import { renderUsageScript } from "./usage-script.ts";

const READABLE = 0o644;

export const configFileOf = ({ dir }: EdgeLayout): string => join(dir, "haproxy.cfg");

export function writeEdgeFiles(state: EdgeState, layout: EdgeLayout): void {
  const { dir } = layout;
  const page = (name: string, text: string): void => {
    const file = join(dir, "errors", `${name}.http`);
    if (!existsSync(file)) writeWhole(file, text, READABLE);
  };
  for (const status of ERROR_STATUSES) page(String(status), renderErrorPages(status));
  page(BODY_REFUSED, renderBodyRefused());
  writeWhole(join(dir, "errors", "no-route.html"), renderNoRoutePage(), READABLE);
  mkdirSync(join(dir, "runbooks"), { recursive: true, mode: 0o755 });
  for (const [name, html] of runbookPages())
    writeWhole(join(dir, "runbooks", `${name}.html`), html, READABLE);
  writeWhole(join(dir, "usage.js"), renderUsageScript(), READABLE);
  writeWhole(join(dir, "body-limit.lua"), renderBodyLimitScript(), READABLE);
  for (const [name, entries] of [
    ["routes", routeEntries(state, layout)],
    ["internal", internalEntries(state)],
    ["environments", environmentEntries(state, layout)],
    ["plain", plainEntries(state)],
  ] as const)
    writeWhole(join(dir, `${name}.map`), renderMap(entries), READABLE);
  writeWhole(configFileOf(layout), renderConfig(state, layout), READABLE);
  keepJson(join(dir, "state.json"), state);
}
