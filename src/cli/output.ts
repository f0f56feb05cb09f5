// Everything that reaches the terminal. Results go to standard output, progress and problems to
// standard error; with --json the result is one JSON value (or one per line) and nothing else.

import { EXIT_CODE, type HoldfastError, messageOf } from "../kernel/error.ts";

const STYLES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const;
export type Style = keyof typeof STYLES;

/** For a process whose reader may have seen enough: `holdfast logs | head`. */
export function endQuietly(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    process.exit(error.code === "EPIPE" ? 0 : 1);
  });
  // Nobody listens to problems any more; what is done goes on, and its exit status says how it went.
  process.stderr.on("error", () => undefined);
}

export class Output {
  readonly isJson: boolean;
  readonly #isColored: boolean;

  constructor(isJson: boolean) {
    this.isJson = isJson;
    this.#isColored = process.stdout.isTTY === true && !process.env["NO_COLOR"] && !isJson;
  }

  /** The facts as JSON, or as text where a person reads. */
  result(facts: unknown, text: () => string): void {
    process.stdout.write(`${this.isJson ? JSON.stringify(facts) : printable(text())}\n`);
  }

  /** One line of a result that comes piece by piece. */
  line(facts: unknown, text: string): void {
    process.stdout.write(`${this.isJson ? JSON.stringify(facts) : printable(text)}\n`);
  }

  /** A result that takes the place of the one before, where it is shown live. */
  screen(facts: unknown, text: () => string, isLive: boolean): void {
    if (isLive) process.stdout.write("\u001b[2J\u001b[H");
    this.result(facts, text);
  }

  progress(text: string): void {
    if (!this.isJson) process.stderr.write(`${printable(text)}\n`);
  }

  paint(style: Style, text: string): string {
    return this.#isColored ? `\u001b[${STYLES[style]}m${text}\u001b[0m` : text;
  }

  /** What an app wrote, in its own colors: where there are none for us, without; never hidden. */
  quoted(text: string): string {
    if (!text.includes(ESCAPE)) return text;
    const own = text.replaceAll(COLORS, (all, codes: string) =>
      !this.#isColored || codes.split(";").some((code) => Number(code) === CONCEAL) ? "" : all,
    );
    return this.#isColored ? `${own}${ESCAPE}[0m` : own;
  }

  /** What, why, what to do. Returns the exit status. */
  problem(error: HoldfastError): number {
    if (this.isJson) {
      const { code, actsNext, message, hint, fields } = error;
      process.stdout.write(
        `${JSON.stringify({ error: { code, actsNext, message, hint, fields } })}\n`,
      );
      return EXIT_CODE[error.actsNext];
    }
    const cause = error.cause === undefined ? "" : ` (${messageOf(error.cause)})`;
    process.stderr.write(`${this.paint("red", "error")}: ${printable(error.message + cause)}\n`);
    if (error.hint) process.stderr.write(`  ${this.paint("cyan", "→")} ${error.hint}\n`);
    if (error.actsNext === "developer")
      process.stderr.write(`  this is a bug in Holdfast (${error.code})\n`);
    return EXIT_CODE[error.actsNext];
  }

  table(rows: readonly (readonly string[])[], head?: readonly string[]): string {
    const all = head ? [head, ...rows] : rows;
    const widths = all.reduce<number[]>((max, row) => {
      // What nothing follows needs no room.
      for (const [i, cell] of row.slice(0, -1).entries())
        max[i] = Math.max(max[i] ?? 0, visibleLength(cell));
      return max;
    }, []);
    const render = (row: readonly string[]): string =>
      row
        .map((cell, i) =>
          i === row.length - 1 ? cell : cell + " ".repeat((widths[i] ?? 0) - visibleLength(cell)),
        )
        .join("  ");
    return all
      .map((row, i) => (head && i === 0 ? this.paint("dim", render(row)) : render(row)))
      .join("\n");
  }
}

// What an app or a visitor says must not move the cursor, change the title, write to the clipboard or
// turn the direction of the text of whoever looks: only tabs, line ends and colors pass.
export const printable = (text: string): string =>
  text.replaceAll(
    /([\p{Cc}\u202a-\u202e\u2066-\u2069])(\[[\d;]{0,20}m)?/gu,
    (all, char: string, color: string | undefined) => {
      if (char === "\t" || char === "\n" || (char === ESCAPE && color !== undefined)) return all;
      const code = char.charCodeAt(0);
      if (code > 0xff) return `\\u${code.toString(16)}${color ?? ""}`;
      const shown =
        code < 0x20 ? `^${String.fromCharCode(code + 0x40)}` : `\\x${code.toString(16)}`;
      return shown + (color ?? "");
    },
  );

/** A value that must not look like lines of ours. */
export const oneLine = (text: string): string => text.replaceAll(/\r?\n|\r/g, "\\n");

const ESCAPE = "\u001b";
const CONCEAL = 8;
const COLORS = new RegExp(`${ESCAPE}\\[([\\d;]{0,20})m`, "g");

// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences take no room on screen
const visibleLength = (text: string): number => text.replaceAll(/\u001b\[\d+m/g, "").length;

/** 950 ms, 1.2 s, 3 min 5 s, 2 h 10 min. */
export function durationText(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1_000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1_000);
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48
    ? `${hours} h ${minutes % 60} min`
    : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
