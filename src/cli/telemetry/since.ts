// `--since` and `--until`: how long ago, or when.

import { invalid } from "../../kernel/error.ts";
import { fromWallClock } from "../../kernel/wall-clock.ts";

const UNITS_MS: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const DAY_MS = 86_400_000;
/** A date, a time of day or both; then a zone: Z, +01:00 or Europe/Madrid. */
const MOMENT =
  /^(?:(?<date>\d{4}-\d\d-\d\d)(?:[T ]|$))?(?<time>\d{1,2}:\d\d(?::\d\d)?)? ?(?<zone>Z|[+-]\d\d:?\d\d|[A-Za-z]+(?:\/[\w+-]+)+|UTC)?$/;

/** `--for 5m` in milliseconds; 0 where it was not given. */
export function durationMsOf(text: unknown, option: string): number {
  if (text === undefined) return 0;
  const length = lengthOf(String(text));
  if (length !== undefined) return length;
  throw invalid("cli.bad_duration", `${option}: "${String(text)}" is not a duration`, {
    hint: "for example: 30s, 5m, 2h, 1d",
  });
}

/**
 * How long ago that was, in milliseconds; 0 where it was not given. A time of day is the last one that
 * there was; without a zone it is one of this machine.
 */
export function sinceMsOf(text: unknown, option = "--since", now = Date.now()): number {
  if (text === undefined) return 0;
  const given = String(text).trim();
  const length = lengthOf(given);
  if (length !== undefined) return length;
  const at = momentOf(given, now);
  if (at === undefined)
    throw invalid("cli.bad_duration", `${option}: "${given}" is neither a duration nor a time`, {
      hint: "for example: 30s, 5m, 2h, 1d, 14:30, 14:30Z, 2026-11-26T14:30+01:00, '14:30 Europe/Madrid'",
    });
  if (at > now)
    throw invalid("cli.bad_duration", `${option}: ${new Date(at).toISOString()} is still to come`, {
      hint: "a time that was",
    });
  return now - at;
}

function lengthOf(text: string): number | undefined {
  const match = /^(\d+)([smhd])$/.exec(text);
  return match ? Number(match[1]) * (UNITS_MS[match[2] ?? ""] ?? 0) : undefined;
}

function momentOf(text: string, now: number): number | undefined {
  const { date, time, zone } = MOMENT.exec(text)?.groups ?? {};
  if (date === undefined && time === undefined) return undefined;
  const clock = (time ?? "00:00").replace(/^(\d):/, "0$1:");
  const of = (day: string): number | undefined => {
    const shown = Date.parse(`${day}T${clock}Z`);
    if (!Number.isFinite(shown)) return undefined;
    try {
      return fromZone(shown, zone);
    } catch {
      return undefined;
    }
  };
  if (date !== undefined) return of(date);
  // Today or yesterday, wherever that zone's day is.
  return [DAY_MS, 0, -DAY_MS, -2 * DAY_MS]
    .flatMap((shift) => of(new Date(now + shift).toISOString().slice(0, 10)) ?? [])
    .find((at) => at <= now);
}

function fromZone(shown: number, zone: string | undefined): number {
  if (zone === "Z" || zone === "UTC") return shown;
  const offset = /^([+-])(\d\d):?(\d\d)$/.exec(zone ?? "");
  if (offset) {
    const minutes = Number(offset[2]) * 60 + Number(offset[3]);
    return shown - (offset[1] === "-" ? -1 : 1) * minutes * 60_000;
  }
  return fromWallClock(zone ?? Intl.DateTimeFormat().resolvedOptions().timeZone, shown);
}
