// Which files of a folder a Dockerfile sees: the rules of .dockerignore, as Docker's own matcher has
// them (moby's patternmatcher). Patterns are from the root; a pattern that matches a folder matches
// what is in it; the last one that matches counts, and one with `!` brings back.

interface Rule {
  readonly pattern: RegExp;
  readonly isException: boolean;
}

/** Whether the path (below the root, with slashes) is left out. */
export function dockerIgnore(
  text: string,
  alwaysSent: readonly string[],
): (path: string) => boolean {
  const rules = text.split(/\r?\n/).flatMap(ruleOf);
  return (path) => {
    if (alwaysSent.includes(path)) return false;
    const parts = path.split("/");
    const prefixes = parts.map((_, index) => parts.slice(0, index + 1).join("/"));
    return rules.reduce(
      (isOut, { pattern, isException }) =>
        isOut === isException && prefixes.some((prefix) => pattern.test(prefix))
          ? !isException
          : isOut,
      false,
    );
  };
}

function ruleOf(line: string): Rule[] {
  const trimmed = line.trim();
  if (trimmed === "" || line.startsWith("#")) return [];
  const isException = trimmed.startsWith("!");
  const clean = trimmed
    .slice(isException ? 1 : 0)
    .trim()
    .split("/")
    .filter((part) => part !== "" && part !== ".")
    .join("/");
  return clean === "" ? [] : [{ pattern: regexOf(clean), isException }];
}

// Go's filepath.Match, with `**` for any number of folders.
function regexOf(pattern: string): RegExp {
  let text = "";
  for (let at = 0; at < pattern.length; at += 1) {
    const char = pattern[at] ?? "";
    if (pattern.startsWith("**/", at)) {
      text += "(?:.*/)?";
      at += 2;
    } else if (pattern.startsWith("**", at)) {
      text += ".*";
      at += 1;
    } else if (char === "*") text += "[^/]*";
    else if (char === "?") text += "[^/]";
    else if (char === "[" && pattern.indexOf("]", at + 2) > 0) {
      const end = pattern.indexOf("]", at + 2);
      text += `[${pattern.slice(at + 1, end).replaceAll("\\", "\\\\")}]`;
      at = end;
    } else {
      if (char === "\\") at += 1;
      const literal = pattern[at] ?? "";
      text += literal.replace(/[.+^${}()|[\]\\/]/, "\\$&");
    }
  }
  return new RegExp(`^${text}$`);
}
