// What is said of a log file beside it, so that the collector knows whose lines they are and when
// nothing more will come.

import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import type { LogSource } from "../kernel/signal.ts";
import { readJson, writeJson } from "./files.ts";

export function describeLog(file: string, source: LogSource): void {
  mkdirSync(dirname(file), { recursive: true });
  writeJson(`${file}.json`, source);
}

/** The collector drops the file once it has read all of it. */
export function endLog(file: string): void {
  const source = readJson<LogSource>(`${file}.json`);
  if (source) writeJson(`${file}.json`, { ...source, ended: true });
}
