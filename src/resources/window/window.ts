// When change is not allowed (a freeze), or only then (a window). Named `<environment>/<name>`, or
// `*` before the slash for all environments. What denies wins.

import { Cron } from "croner";
import { z } from "zod";
import { type Action, CHANGE_ACTIONS } from "../../kernel/action.ts";
import { cronFieldsMistake } from "../../kernel/cron-fields.ts";
import { defineKind, type SpecOf } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";
import { wallClockAfter } from "../../kernel/wall-clock.ts";

/** How far ahead a next opening is looked for. */
export const HORIZON_MS = 90 * 86_400_000;
const DURATION_MAX_MS = 31 * 86_400_000;
const MINUTE_MS = 60_000;
const RUNS_LOOKED_AT = 50;
/** No clock is moved further. */
const CLOCK_CHANGE_MS = 2 * 3_600_000;

const selector = z
  .string()
  .regex(/^[a-z0-9*-]{1,40}$/, "must be a name, or a part of one with *")
  .describe("Name of an app; * stands for any part of it.");

export const windowSchema = z
  .strictObject({
    kind: z.enum(["window", "freeze"]),
    from: z.number().optional().describe("ms since the epoch: once, from then on."),
    until: z.number().optional().describe("ms since the epoch: it ends then."),
    schedule: z
      .string()
      .max(100)
      .optional()
      .describe("Five-field cron expression of its beginnings."),
    durationMs: z.number().int().min(MINUTE_MS).max(DURATION_MAX_MS).optional(),
    timezone: z.string().max(60).default("UTC").describe("IANA time zone of the schedule."),
    apps: z.array(selector).max(50).default([]).describe("Only of these apps; empty: of all."),
    actions: z
      .array(z.enum(CHANGE_ACTIONS))
      .default([])
      .describe("Only these; empty: all changes."),
    reason: z.string().trim().min(1).max(500),
  })
  .describe("When change is not, or only, allowed.");

export type WindowSpec = SpecOf<typeof windowSchema>;

export const WINDOW = defineKind<WindowSpec>({
  name: "window",
  summary: "A freeze or a change window.",
  scope: "installation",
  environmentOf: (name) => (name.startsWith("*/") ? undefined : name.split("/")[0]),
  spec: windowSchema,
  wakes: [{ kind: "train" }],
});

export type Window = Resource<WindowSpec, never>;

/** What can't be; undefined: it is fine. */
export function windowMistake(spec: WindowSpec, now: number): string | undefined {
  const { schedule, durationMs, from, until, timezone } = spec;
  if ((schedule === undefined) === (from === undefined && until === undefined))
    return "needs a schedule with a duration, or a time from and until";
  if (schedule === undefined) {
    if (from !== undefined && until !== undefined && until <= from) return "ends before it begins";
    return until !== undefined && until <= now ? "is over already" : undefined;
  }
  if (durationMs === undefined) return "needs a duration with its schedule";
  const fields = cronFieldsMistake(schedule);
  if (fields !== undefined) return fields;
  try {
    const cron = new Cron(schedule, { timezone, paused: true });
    const next = cron.nextRun(new Date(now))?.getTime();
    if (next === undefined) return `never comes: "${schedule}" has no next time`;
    if (next - now > HORIZON_MS * 4) return `comes only at ${new Date(next).toISOString()}`;
    const runs = cron.nextRuns(RUNS_LOOKED_AT, new Date(now)).map((run) => run.getTime());
    if (
      runs.some((run, index) => run - (runs[index - 1] ?? Number.NEGATIVE_INFINITY) <= durationMs)
    )
      return `begins again before it has ended: say its first beginning, such as "0 9 * * 1-5", and how long it lasts`;
  } catch (error) {
    return `is not a schedule: ${error instanceof Error ? error.message : String(error)}`;
  }
  return undefined;
}

/** The stretch that it is in now, or the next one; undefined: never again. */
export function nextStretch(
  spec: WindowSpec,
  now: number,
): { readonly from: number; readonly until: number } | undefined {
  const { schedule, durationMs = 0, timezone } = spec;
  if (schedule === undefined) {
    const [from, until] = [spec.from ?? 0, spec.until ?? Number.MAX_SAFE_INTEGER];
    return until > now ? { from, until } : undefined;
  }
  const cron = new Cron(schedule, { timezone, paused: true });
  // A beginning within the last duration may still be on: a weekend lasts until Monday 8:00 also where
  // the clock was moved on Sunday.
  let from = cron.nextRun(new Date(now - durationMs - CLOCK_CHANGE_MS))?.getTime();
  while (from !== undefined) {
    const until = wallClockAfter(timezone, from, durationMs);
    if (until > now) return { from, until };
    from = cron.nextRun(new Date(from))?.getTime();
  }
  return undefined;
}

export interface Subject {
  readonly environment: string;
  readonly app: string;
  readonly action: Action;
}

export function concerns({ name, spec }: Pick<Window, "name" | "spec">, subject: Subject): boolean {
  const environment = name.split("/")[0];
  const isHere = environment === "*" || environment === subject.environment;
  const isApp = spec.apps.length === 0 || spec.apps.some((one) => matches(one, subject.app));
  const isAction = spec.actions.length === 0 || spec.actions.some((one) => one === subject.action);
  return isHere && isApp && isAction;
}

/** `*` stands for any part. In one go from the left: nothing is ever tried twice. */
export function matches(pattern: string, app: string): boolean {
  const [head = "", ...parts] = pattern.split("*");
  if (parts.length === 0) return pattern === app;
  const tail = parts.pop() ?? "";
  if (!app.startsWith(head) || !app.endsWith(tail)) return false;
  const end = app.length - tail.length;
  let at = head.length;
  for (const part of parts) {
    const found = app.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return at <= end;
}

export type Gate =
  | { readonly open: true }
  | {
      readonly open: false;
      readonly by: string;
      readonly reason: string;
      /** When it opens next; undefined: not within the horizon. */
      readonly opensAt: number | undefined;
    };

/** Whether a change may run at a moment: inside a window where there are any, and in no freeze. */
export function gateAt(
  all: readonly Pick<Window, "name" | "spec">[],
  subject: Subject,
  now: number,
): Gate {
  const own = all.filter((one) => concerns(one, subject));
  const closed = closedBy(own, now);
  if (!closed) return { open: true };
  return { open: false, by: closed.name, reason: closed.spec.reason, opensAt: opening(own, now) };
}

function closedBy(own: readonly Pick<Window, "name" | "spec">[], now: number) {
  const isOn = ({ spec }: Pick<Window, "spec">): boolean => {
    const stretch = nextStretch(spec, now);
    return stretch !== undefined && stretch.from <= now && now < stretch.until;
  };
  const freeze = own.find((one) => one.spec.kind === "freeze" && isOn(one));
  if (freeze) return freeze;
  // One that is over and does not come again closes nothing.
  const windows = own.filter(
    ({ spec }) => spec.kind === "window" && nextStretch(spec, now) !== undefined,
  );
  return windows.length > 0 && !windows.some(isOn) ? windows[0] : undefined;
}

// The next moment at which something changes, again and again, until it is open.
function opening(own: readonly Pick<Window, "name" | "spec">[], now: number): number | undefined {
  let at = now;
  for (let tries = 0; tries < 400 && at - now <= HORIZON_MS; tries += 1) {
    const moments = own.flatMap(({ spec }) => {
      const stretch = nextStretch(spec, at);
      return stretch ? [stretch.from, stretch.until] : [];
    });
    const next = Math.min(...moments.filter((moment) => moment > at));
    if (!Number.isFinite(next) || next - now > HORIZON_MS) return undefined;
    if (!closedBy(own, next)) return next;
    at = next;
  }
  return undefined;
}
