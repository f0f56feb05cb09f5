// Code that is compiled is kept (see the script `holdfast`), and what was kept may end whoever loads it.
// So a file says for as long as we load something, and the next of us begins afresh where one that
// ended left it behind.

import { rmSync, writeFileSync } from "node:fs";

const mark = process.env["HOLDFAST_LOADING"];
delete process.env["HOLDFAST_LOADING"];

/** All that was begun with is loaded. */
export function loaded(): void {
  if (mark !== undefined) rmSync(mark, { force: true });
}

/** Loads what only some commands need, when they do: a command that asks is there in half the time. */
export async function load<Module>(code: () => Promise<Module>): Promise<Module> {
  try {
    if (mark !== undefined) writeFileSync(mark, "");
  } catch {
    // Another one has just dropped what was kept, and this folder with it.
  }
  try {
    return await code();
  } finally {
    loaded();
  }
}
