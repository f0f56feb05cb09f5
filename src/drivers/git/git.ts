// Git, as a program. It reads no configuration but that of the repository itself, asks nobody for a
// password, and talks to nothing but HTTP.

import { Readable } from "node:stream";
import { invalid } from "../../kernel/error.ts";
import { ownEnvironment, pipe } from "../exec.ts";

const ARCHIVE_TIMEOUT_MS = 5 * 60_000;

export function gitEnvironment(more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  return {
    ...ownEnvironment(),
    LC_ALL: "C",
    HOME: "/nonexistent",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_TERMINAL_PROMPT: "0",
    GIT_ALLOW_PROTOCOL: "https:http",
    ...more,
  };
}

export interface ArchiveOptions {
  readonly repository: string;
  readonly commit: string;
  /** Of the app inside it; undefined: its top. */
  readonly folder?: string | undefined;
  readonly env?: NodeJS.ProcessEnv;
}

/** A commit's files as a gzipped tar. Its stream fails where git does. */
export function archiveOf({ repository, commit, folder, env }: ArchiveOptions): Readable {
  const tree = folder === undefined ? commit : `${commit}:${folder}`;
  const { stdout, ended } = pipe(["git", "archive", "--format=tar.gz", tree], {
    cwd: repository,
    env: env ?? gitEnvironment(),
    timeoutMs: ARCHIVE_TIMEOUT_MS,
  });
  const check = async (): Promise<void> => {
    const { code, stderr } = await ended;
    if (code === 0) return;
    if (folder !== undefined && /not a valid object name|not a tree object/i.test(stderr))
      throw invalid("source.no_folder", `the commit has no folder ${folder}`, {
        hint: "say which folder the app is in",
      });
    throw invalid("source.unreadable", `git archive: ${lastLine(stderr)}`);
  };
  return Readable.from(
    (async function* () {
      for await (const chunk of stdout) yield chunk as Buffer;
      await check();
    })(),
  );
}

/** What git said in the end, without what it puts before it. */
export const lastLine = (text: string): string =>
  text
    .trim()
    .split("\n")
    .at(-1)
    ?.replace(/^(fatal|error|remote):\s*/i, "") ?? "";
