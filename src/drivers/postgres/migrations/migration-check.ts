// What migrations would break for the release that still runs, read before they run: PostgreSQL's own
// parser reads them, and what takes something away, renames it or asks for more than before is named.
// Expand first, contract with a later release.

import { loadModule } from "libpg-query";
import { messageOf } from "../../../kernel/error.ts";
import type { MigrationFinding } from "../../../resources/release/release-driver.ts";
import type { Found } from "./finding.ts";
import { MigrationScope } from "./migration-scope.ts";
import { ProceduralReader, statementsOf } from "./procedural.ts";
import type { Schema } from "./schema.ts";

export interface MigrationFile {
  readonly name: string;
  readonly text: string;
}

/** What psql reads otherwise than the parser does. */
const TRICKS: readonly (readonly [text: string, pattern: RegExp])[] = [
  ["a NUL in it: what follows can't be read", /\0/],
  ["standard_conforming_strings changes what a text is", /standard_conforming_strings/i],
];

let isLoaded: Promise<void> | undefined;

/**
 * @param files in the order in which they run
 * @param schema of the database that they are for; without it, more of them can't be read
 */
export async function checkMigrations(
  files: readonly MigrationFile[],
  schema?: Schema,
): Promise<readonly MigrationFinding[]> {
  isLoaded ??= loadModule();
  await isLoaded;
  const scope = new MigrationScope(schema);
  const reader = new ProceduralReader(scope);
  const findings: MigrationFinding[] = [];
  for (const { name: file, text } of files) {
    const add = (found: readonly Found[], line: number): void => {
      for (const one of found) findings.push({ ...one, file, line: line + (one.line ?? 0) });
    };
    scope.beginFile();
    const trick = TRICKS.find(([, pattern]) => pattern.test(text));
    if (trick) add([{ kind: "unread", text: trick[0] }], 1);
    try {
      const lines = lineCounter(text);
      for (const { stmt, text: own, at } of statementsOf(text)) {
        const line = lines(at) + linesOf(GAP.exec(own)?.[0] ?? "");
        add(reader.read(stmt, own.trimStart()), line);
      }
    } catch (error) {
      add([{ kind: "unread", text: messageOf(error) }], 1);
    }
  }
  return unique(findings);
}

// A block that loops says it once.
const unique = (findings: readonly MigrationFinding[]): MigrationFinding[] => [
  ...new Map(
    findings.map((one) => [`${one.file}:${one.line} ${one.kind} ${one.text}`, one]),
  ).values(),
];

// A statement begins where the one before ended: with its line ends, and comments.
const GAP = /^(?:\s+|--[^\n]*\n|\/\*[\s\S]*?\*\/)*/;
const linesOf = (text: string): number => text.split("\n").length - 1;

/** Lines of places, in bytes, that come in their order: each byte is looked at once. */
function lineCounter(text: string): (at: number) => number {
  const bytes = Buffer.from(text);
  let line = 1;
  let from = 0;
  return (at) => {
    for (let next = bytes.indexOf(10, from); next >= 0 && next < at; ) {
      line += 1;
      from = next + 1;
      next = bytes.indexOf(10, from);
    }
    return line;
  };
}
