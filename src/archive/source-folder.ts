// An app's folder, as it is deployed: which of its files go, and which commit they are. In a checkout
// of git they are those that a push of them would bring: what is tracked, and beside it what git does
// not ignore. Elsewhere git's rules decide too, over the .gitignore files that are there. What else is
// left out is named: .env files, installed dependencies, and what .holdfastignore says.

import { existsSync, lstatSync, readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { basename, join, resolve } from "node:path";
import type { Readable } from "node:stream";
import ignore from "ignore";
import { type Argv, ownEnvironment, run } from "../drivers/exec.ts";
import { invalid } from "../kernel/error.ts";
import { packFiles } from "./pack.ts";

export const HOLDFAST_IGNORE = ".holdfastignore";
/** Never sent unless git has it: they are made anew, or hold what is no business of a build. */
const NEVER = [
  ".git",
  "node_modules",
  ".env",
  ".env.*",
  "!.env.example",
  ".venv",
  "__pycache__",
  ".DS_Store",
];
/** Left out so often that it goes without saying. */
const UNSAID = /(^|\/)(\.git|node_modules|\.venv|__pycache__|\.DS_Store)(\/|$)/;
const GIT_TIMEOUT_MS = 60_000;
const LIST_MAX_CHARS = 64 * 1024 ** 2;

export interface SourceFolder {
  readonly dir: string;
  readonly folder: string;
  readonly commit: string | undefined;
  /** ms since the epoch */
  readonly committedAt: number | undefined;
  /** Address of who made the commit. */
  readonly author: string | undefined;
  /** What lies there is not what was committed. */
  readonly uncommitted: boolean;
  readonly origin: string;
}

export interface SourceFiles {
  /** Below the folder, with slashes, folders before what is in them. */
  readonly paths: readonly string[];
  readonly leftOut: readonly string[];
}

/** @throws source.not_a_folder */
export async function openSource(dir: string): Promise<SourceFolder> {
  const path = resolve(dir);
  if (!existsSync(path) || !statSync(path).isDirectory()) {
    throw invalid("source.not_a_folder", `${path} is not a folder`, {
      hint: "holdfast deploy <folder of the app>",
    });
  }
  const real = realpathSync(path);
  const [commit, time, author, changes, remote, inside] = await Promise.all([
    git(real, ["rev-parse", "--verify", "--quiet", "HEAD"]),
    git(real, ["show", "--no-patch", "--format=%ct", "HEAD"]),
    git(real, ["show", "--no-patch", "--format=%ae", "HEAD"]),
    git(real, ["status", "--porcelain", "--", "."]),
    git(real, ["config", "--get", "remote.origin.url"]),
    git(real, ["rev-parse", "--show-prefix"]),
  ]);
  const folder = inside?.trim().replace(/\/$/, "") ?? "";
  return {
    dir: real,
    folder: basename(real),
    commit: commit?.trim() || undefined,
    committedAt: time?.trim() ? Number(time.trim()) * 1_000 : undefined,
    author: author?.trim() || undefined,
    uncommitted: (changes?.trim() ?? "") !== "",
    // A credential in the address is nobody's business.
    origin: remote?.trim()
      ? remote.trim().replace(/\/\/[^@/]+@/, "//") + (folder ? `#${folder}` : "")
      : `${hostname()}:${real}`,
  };
}

/** @throws source.bad_name where a name is not text */
export async function listSource(dir: string): Promise<SourceFiles> {
  const holdfastIgnore = join(dir, HOLDFAST_IGNORE);
  const own = ignore();
  if (existsSync(holdfastIgnore)) own.add(readFileSync(holdfastIgnore, "utf8"));
  const listed = (await gitFiles(dir)) ?? (await walkedFiles(dir));
  const leftOut = listed.leftOut.filter((path) => !UNSAID.test(path));
  const paths = listed.paths.filter((path) => !own.ignores(path));
  assertKept(paths);
  return {
    paths,
    leftOut: [...leftOut, ...listed.paths.filter((path) => own.ignores(path))],
  };
}

/** The files, gzipped; what can't be packed is told. */
export const packSource = (
  dir: string,
  { paths }: SourceFiles,
  onLeftOut: (path: string, why: string) => void,
): Readable => packFiles(dir, paths, { gzip: true, onLeftOut });

/** What a folder holds that its own ignore file leaves out; for what came by another way. */
export function holdfastIgnored(dir: string, paths: readonly string[]): readonly string[] {
  const file = join(dir, HOLDFAST_IGNORE);
  // A link is not followed: nobody has looked yet where it leads.
  if (!lstatSync(file, { throwIfNoEntry: false })?.isFile()) return [];
  const own = ignore().add(readFileSync(file, "utf8"));
  return paths.filter((path) => own.ignores(path));
}

// Where the folder itself is ignored, as that of a build is, git would say that there is nothing.
async function gitFiles(dir: string): Promise<SourceFiles | undefined> {
  const tracked = await git(dir, ["ls-files", "-z", "--cached", "--deduplicate"]);
  const others = await git(dir, ["ls-files", "-z", "--others", "--exclude-standard"]);
  if (tracked === undefined || others === undefined) return undefined;
  const committed = await withoutExportIgnored(dir, namesOf(tracked));
  const untracked = namesOf(others);
  const never = ignore().add(NEVER);
  const wanted = untracked.filter((path) => !never.ignores(path));
  if (committed.length + wanted.length === 0) return undefined;
  // Removed here, and still in git's index; a link that leads nowhere is there.
  const gone = (path: string): boolean => !lstatSync(join(dir, path), { throwIfNoEntry: false });
  return {
    paths: [...committed.filter((path) => !gone(path)), ...wanted].toSorted(),
    leftOut: untracked.filter((path) => never.ignores(path)),
  };
}

// `git archive`, which a push is read by, leaves these out.
async function withoutExportIgnored(
  dir: string,
  paths: readonly string[],
): Promise<readonly string[]> {
  if (paths.length === 0) return paths;
  const attributes = ["check-attr", "-z", "--stdin", "export-ignore"];
  const answer = (await git(dir, attributes, `${paths.join("\0")}\0`)) ?? "";
  const parts = answer.split("\0");
  const ignored = new Set(
    parts.filter((_, index) => parts[index + 2] === "set" && index % 3 === 0),
  );
  return paths.filter((path) => !ignored.has(path));
}

// A folder that is in no checkout: its .gitignore files count all the same, each from where it lies.
async function walkedFiles(dir: string): Promise<SourceFiles> {
  const paths: string[] = [];
  const leftOut: string[] = [];
  const never = ignore().add(NEVER);
  const walk = (folder: string, rules: readonly Rules[]): void => {
    const gitignore = join(dir, folder, ".gitignore");
    const own = existsSync(gitignore) && statSync(gitignore).isFile();
    const inForce = own
      ? [...rules, { folder, filter: ignore().add(readFileSync(gitignore, "utf8")) }]
      : rules;
    for (const entry of readdirSync(join(dir, folder), { withFileTypes: true })) {
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      const asked = entry.isDirectory() ? `${path}/` : path;
      if (never.ignores(asked)) leftOut.push(path);
      else if (!isIgnored(asked, inForce)) {
        paths.push(path);
        if (entry.isDirectory()) walk(path, inForce);
      }
    }
  };
  walk("", []);
  return { paths: paths.toSorted(), leftOut };
}

interface Rules {
  readonly folder: string;
  readonly filter: ReturnType<typeof ignore>;
}

function isIgnored(path: string, rules: readonly Rules[]): boolean {
  let ignored = false;
  for (const { folder, filter } of rules) {
    const verdict = filter.test(folder === "" ? path : path.slice(folder.length + 1));
    if (verdict.ignored) ignored = true;
    else if (verdict.unignored) ignored = false;
  }
  return ignored;
}

const namesOf = (listing: string): string[] => listing.split("\0").filter(Boolean);

// biome-ignore lint/suspicious/noControlCharactersInRegex: exactly those are looked for
const UNKEPT = /[\u0000-\u001f\u007f\uFFFD]/;

function assertKept(paths: readonly string[]): void {
  const bad = paths.find((path) => UNKEPT.test(path));
  if (bad === undefined) return;
  throw invalid(
    "source.bad_name",
    `a file has a name that is no text (UTF-8, without control characters): ${JSON.stringify(bad)}`,
    { hint: `rename it, or keep it out with ${HOLDFAST_IGNORE}` },
  );
}

/** Nothing that a repository says is run: it may be somebody else's. */
const SAFE = [
  "-c",
  "safe.directory=*",
  "-c",
  "core.fsmonitor=false",
  "-c",
  "core.hooksPath=/dev/null",
];

/** Undefined where git is not there, or says no. */
async function git(
  dir: string,
  args: readonly string[],
  input?: string,
): Promise<string | undefined> {
  const { LC_ALL: _, ...env } = ownEnvironment();
  const result = await run(["git", ...SAFE, ...args] as unknown as Argv, {
    cwd: dir,
    env: { ...env, LC_ALL: "C", GIT_OPTIONAL_LOCKS: "0", GIT_TERMINAL_PROMPT: "0" },
    timeoutMs: GIT_TIMEOUT_MS,
    outputMaxChars: LIST_MAX_CHARS,
    ...(input !== undefined && { input }),
  }).catch(() => undefined);
  return result?.code === 0 ? result.stdout : undefined;
}
