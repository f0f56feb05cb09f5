// Paths below a folder that somebody else filled, read as the kernel reads them: `..` after a link leads
// to the parent of where the link leads. Node's own realpath, and that of path.join, takes the text
// away instead, and says that a link stays inside which does not.

import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  readlinkSync,
} from "node:fs";
import { join } from "node:path";
import { invalid } from "../../kernel/error.ts";

/** As many links on one way as the kernel follows. */
const LINKS_MAX = 40;

/**
 * Where a path below `root` leads, from `root` on and free of links; undefined where it leads out, or
 * round in circles. What is not there leads where it says.
 */
export function resolveInside(root: string, path: string): string | undefined {
  const at: string[] = [];
  const ahead = path.split("/");
  let links = 0;
  for (let part = ahead.shift(); part !== undefined; part = ahead.shift()) {
    if (part === "" || part === ".") continue;
    if (part === "..") {
      if (at.pop() === undefined) return undefined;
      continue;
    }
    at.push(part);
    const target = linkTarget(join(root, ...at));
    if (target === undefined) continue;
    links += 1;
    if (target.startsWith("/") || links > LINKS_MAX) return undefined;
    at.pop();
    ahead.unshift(...target.split("/"));
  }
  return at.join("/");
}

function linkTarget(path: string): string | undefined {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat?.isSymbolicLink() ? readlinkSync(path) : undefined;
}

/**
 * The text of a file below `root`, which nobody else can change any more; undefined where there is none.
 *
 * @throws source.not_a_file, source.link_leads_out, source.file_too_large
 */
export function readInside(root: string, path: string, maxBytes: number): string | undefined {
  const inside = resolveInside(root, path);
  if (inside === undefined)
    throw invalid("source.link_leads_out", `${path} leads out of the app's folder`, {
      hint: "put a copy in its place",
    });
  let file: number;
  try {
    // Not held up by what is no file, and not led on by a link.
    file = openSync(
      join(root, inside),
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    const stat = fstatSync(file);
    if (!stat.isFile())
      throw invalid(
        "source.not_a_file",
        `${path} is a ${stat.isDirectory() ? "folder" : "device"}, and should be a file`,
        { hint: `rename or remove ${path}` },
      );
    if (stat.size > maxBytes)
      throw invalid(
        "source.file_too_large",
        `${path} has ${stat.size} bytes, and may have ${maxBytes}`,
        { hint: "make it smaller" },
      );
    return readFileSync(file, "utf8");
  } finally {
    closeSync(file);
  }
}
