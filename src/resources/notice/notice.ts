// A message of the day: `status` and every command show it until it is removed, or its time is over.

import { z } from "zod";
import { defineKind, type SpecOf } from "../../kernel/kind.ts";

export const noticeSpec = z.strictObject({
  text: z
    .string()
    .trim()
    .min(1)
    .max(300)
    .regex(/^[^\p{Cc}]*$/u, "must be one line")
    .describe("One line, as it is shown."),
  level: z.enum(["info", "warning"]).default("info"),
  until: z.iso
    .datetime({ offset: true, error: "must be a time such as 2026-12-24T18:00:00Z" })
    .exactOptional()
    .describe("It is not shown after that. Default: until it is removed."),
});

export type NoticeSpec = SpecOf<typeof noticeSpec>;

export const NOTICE = defineKind<NoticeSpec>({
  name: "notice",
  summary: "A message that every command shows until it is removed.",
  scope: "installation",
  spec: noticeSpec,
});

/** Of more than these nobody reads any. */
export const NOTICES_SHOWN = 5;
