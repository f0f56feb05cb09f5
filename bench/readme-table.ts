// Prints a table of what was measured; with `--write` it takes its place in README.md, between
// `<!-- name -->` and `<!-- /name -->`.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export function writeTable(
  name: string,
  rows: readonly (readonly string[])[],
  columns: readonly string[] = ["what", "target", "measured"],
): void {
  const table = [
    `| ${columns.join(" | ")} |`,
    `| ${columns.map(() => "---").join(" | ")} |`,
    ...rows.map((row) => `| ${row.join(" | ")} |`),
  ].join("\n");
  console.log(table);
  if (!process.argv.includes("--write")) return;
  const readme = join(import.meta.dirname, "..", "README.md");
  const marked = new RegExp(`(<!-- ${name} -->\\n)[\\s\\S]*?(\\n<!-- /${name} -->)`);
  const text = readFileSync(readme, "utf8");
  writeFileSync(
    readme,
    text.replace(marked, (_all, head: string, tail: string) => head + table + tail),
  );
}
