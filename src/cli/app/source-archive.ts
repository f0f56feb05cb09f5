// The folder of an app as a gzipped tar: what git would ignore stays here, and so do .git,
// node_modules and .env files.

import { existsSync, readFileSync, realpathSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { basename, join, relative, resolve } from "node:path";
import { Readable } from "node:stream";
import { inflateSync } from "node:zlib";
import ignore from "ignore";
import { create } from "tar";
import { invalid } from "../../kernel/error.ts";

const IGNORE_FILES = [".holdfastignore", ".dockerignore", ".gitignore"];
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

export interface SourceFolder {
  readonly dir: string;
  readonly folder: string;
  readonly commit: string | undefined;
  /** ms since the epoch */
  readonly committedAt: number | undefined;
  readonly origin: string;
}

export function openSource(dir: string): SourceFolder {
  const path = resolve(dir);
  if (!existsSync(path) || !statSync(path).isDirectory()) {
    throw invalid("source.not_a_folder", `${path} is not a folder`, {
      hint: "holdfast deploy <folder of the app>",
    });
  }
  const real = realpathSync(path);
  const git = findGit(real);
  const commit = git && readCommit(git);
  return {
    dir: real,
    folder: basename(real),
    commit,
    committedAt: git && commit !== undefined ? readCommitTime(git, commit) : undefined,
    origin: (git && readRemote(git, real)) ?? `${hostname()}:${real}`,
  };
}

export function archive({ dir }: SourceFolder): Readable {
  const filter = ignore().add(NEVER);
  const file = IGNORE_FILES.map((name) => join(dir, name)).find((path) => existsSync(path));
  if (file) filter.add(readFileSync(file, "utf8"));
  const pack = create(
    {
      cwd: dir,
      gzip: { level: 1 },
      portable: true,
      filter: (path, stat) => {
        const inside = relative(".", path);
        if (inside === "") return true;
        const isFolder = "isDirectory" in stat && stat.isDirectory();
        return !filter.ignores(isFolder ? `${inside}/` : inside);
      },
    },
    ["."],
  );
  return Readable.from(pack);
}

// When a commit was made: its object says so, or else the log of the checkout.
function readCommitTime(git: string, commit: string): number | undefined {
  try {
    const object = join(git, "objects", commit.slice(0, 2), commit.slice(2));
    const text = existsSync(object)
      ? inflateSync(readFileSync(object)).toString("utf8")
      : (readFileSync(join(git, "logs", "HEAD"), "utf8")
          .split("\n")
          .findLast((line) => line.includes(` ${commit} `)) ?? "");
    const seconds = /(?:^committer .*> |> )(\d{9,11}) [+-]\d{4}/m.exec(text)?.[1];
    return seconds === undefined ? undefined : Number(seconds) * 1_000;
  } catch {
    return undefined;
  }
}

// Git's own files say enough; no process is needed for it.
function findGit(dir: string): string | undefined {
  for (let at = dir; at !== "/"; at = resolve(at, "..")) {
    const git = join(at, ".git");
    if (existsSync(git) && statSync(git).isDirectory()) return git;
  }
  return undefined;
}

function readCommit(git: string): string | undefined {
  const head = readIf(join(git, "HEAD"))?.trim();
  const ref = /^ref: (.+)$/.exec(head ?? "")?.[1];
  if (ref === undefined) return head;
  const loose = readIf(join(git, ref))?.trim();
  if (loose) return loose;
  const packed = readIf(join(git, "packed-refs"))
    ?.split("\n")
    .find((line) => line.endsWith(` ${ref}`));
  return packed?.split(" ")[0];
}

function readRemote(git: string, dir: string): string | undefined {
  const config = readIf(join(git, "config")) ?? "";
  const url = /\[remote "origin"\][^[]*?\n\s*url\s*=\s*(\S+)/.exec(config)?.[1];
  if (url === undefined) return undefined;
  const inside = relative(resolve(git, ".."), dir);
  // A credential in the address is nobody's business.
  return url.replace(/\/\/[^@/]+@/, "//") + (inside ? `#${inside}` : "");
}

const readIf = (path: string): string | undefined =>
  existsSync(path) ? readFileSync(path, "utf8") : undefined;
