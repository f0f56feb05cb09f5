// What a test expects of a command that ran to its end.

import assert from "node:assert/strict";
import type { CommandResult } from "./installation.ts";

export type Run = (...args: string[]) => Promise<CommandResult>;

/** Exit status 2, and an error that matches. */
export async function refused(result: Promise<CommandResult>, message: RegExp): Promise<void> {
  const { code, stdout, stderr } = await result;
  assert.equal(code, 2, stdout + stderr);
  assert.match(stderr, message);
}

/** Exit status 0; returns what it wrote. */
export async function done(result: Promise<CommandResult>): Promise<string> {
  const { code, stdout, stderr } = await result;
  assert.equal(code, 0, stdout + stderr);
  return stdout;
}
