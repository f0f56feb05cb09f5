import { invalid } from "../../kernel/error.ts";

const UNITS_MS: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** `--since 5m` in milliseconds; 0 where it was not given. */
export function sinceMsOf(text: unknown, option = "--since"): number {
  if (text === undefined) return 0;
  const match = /^(\d+)([smhd])$/.exec(String(text));
  if (match) return Number(match[1]) * (UNITS_MS[match[2] ?? ""] ?? 0);
  throw invalid("cli.bad_duration", `${option}: "${String(text)}" is not a duration`, {
    hint: "for example: 30s, 5m, 2h, 1d",
  });
}
