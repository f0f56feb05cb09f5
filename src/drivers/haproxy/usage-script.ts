// What a page loads to report what its users see: the web vitals as Chrome's team measures them, and
// what usage-script.js adds. The edge serves it whole from memory, so it has to stay small.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

let script: string | undefined;

export function renderUsageScript(): string {
  script ??= readScript();
  return script;
}

function readScript(): string {
  const entry = createRequire(import.meta.url).resolve("web-vitals");
  const vitals = readFileSync(join(dirname(entry), "web-vitals.iife.js"), "utf8");
  const own = readFileSync(join(import.meta.dirname, "usage-script.js"), "utf8");
  return `${vitals.replace(/^\/\/# sourceMappingURL.*$/m, "").trim()}\n${own}`;
}
