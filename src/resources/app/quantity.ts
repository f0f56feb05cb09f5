// Durations, sizes and shares as people write them in holdfast.yaml.

import { z } from "zod";
import { gives } from "../../kernel/stored-form.ts";

const DURATION_UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

const SIZE_UNITS_BYTES: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1024,
  MB: 1024 ** 2,
  GB: 1024 ** 3,
};

/** `500ms`, `30s`, `5m`, `1h30m`, `7d` → milliseconds; undefined where it is none of these. */
export function parseDurationMs(text: string): number | undefined {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join("") !== text) return undefined;
  return parts.reduce(
    (sum, [, n, unit]) => sum + Number(n) * (DURATION_UNITS_MS[unit ?? ""] ?? 0),
    0,
  );
}

/** As `parseDurationMs` reads it: 5,400,000 → `1h30m`. */
export function durationText(ms: number): string {
  let left = ms;
  const parts = Object.entries(DURATION_UNITS_MS)
    .toReversed()
    .map(([unit, unitMs]) => {
      const count = Math.floor(left / unitMs);
      left -= count * unitMs;
      return count > 0 ? `${count}${unit}` : "";
    });
  return parts.join("") || "0s";
}

/** `512KB`, `256MB`, `2GB` → bytes; undefined where it is none of these. */
export function parseSizeBytes(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*(B|KB|MB|GB)$/i.exec(text);
  const unit = SIZE_UNITS_BYTES[match?.[2]?.toUpperCase() ?? ""];
  return match && unit ? Math.round(Number(match[1]) * unit) : undefined;
}

/** Timers can't count further than 24 days. */
const DURATION_MAX = "20d";

/** Whole milliseconds from `min` to 20 days. */
export const duration = (description: string, min = "0s", max = DURATION_MAX) =>
  gives(
    z.number().int().min(0),
    z
      .string("must be a duration with its unit, such as 500ms, 30s, 5m or 1h30m")
      .regex(/^(\d+(\.\d+)?(ms|s|m|h|d))+$/, "must be a duration such as 500ms, 30s, 5m or 1h30m")
      .refine((text) => {
        const ms = parseDurationMs(text);
        if (ms === undefined) return true;
        return ms >= (parseDurationMs(min) ?? 0) && ms <= (parseDurationMs(max) ?? 0);
      }, `must be from ${min} to ${max}`)
      .describe(`${description} A duration such as 500ms, 30s, 5m.`)
      .transform((text) => Math.round(parseDurationMs(text) ?? 0)),
  );

export const size = (description: string) =>
  gives(
    z.number().int().min(0),
    z
      .string("must be a size with its unit, such as 512KB, 256MB or 2GB")
      .regex(/^\d+(\.\d+)?\s*([kmg]?b)$/i, "must be a size such as 512KB, 256MB or 2GB")
      .describe(`${description} A size such as 512KB, 256MB, 2GB.`)
      .transform((text) => parseSizeBytes(text) ?? 0),
  );

/** `5%`, `0.5%` → of 1,000. */
export const share = (description: string) =>
  gives(
    z.number().int().min(0).max(1_000),
    z
      .string("must be a share with its sign, such as 5% or 0.5%")
      .regex(/^\d{1,3}(\.\d)?%$/, "must be a share such as 5% or 0.5%")
      .refine((text) => Number.parseFloat(text) <= 100, "must be at most 100%")
      .describe(`${description} A share such as 5% or 0.5%.`)
      .transform((text) => Math.round(Number.parseFloat(text) * 10)),
  );
