import { stuck } from "../../kernel/error.ts";

/** `backend b` and its lines, as HAProxy reads them. */
export function section(head: string, lines: readonly string[]): string {
  // Every value was checked where it came in; a line that ends early would be somebody's directive.
  for (const line of [head, ...lines]) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly those are looked for
    if (/[\u0000-\u001f]/.test(line))
      throw stuck("edge.bad_config", `a control character in: ${JSON.stringify(line)}`);
  }
  return [head, ...lines.map((line) => `  ${line}`)].join("\n");
}
