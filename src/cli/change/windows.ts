// When change is not (a freeze), or only (a window), allowed.

import { invalid } from "../../kernel/error.ts";
import { fromWallClock } from "../../kernel/wall-clock.ts";
import { CONTROL_OPTIONS, controlFacts, waitingText } from "../app/change-options.ts";
import type { Command, Options } from "../command.ts";
import type { Output } from "../output.ts";
import { durationMsOf } from "../telemetry/since.ts";

interface WindowView {
  readonly name: string;
  readonly kind: "window" | "freeze";
  readonly reason: string;
  readonly schedule?: string;
  readonly timezone: string;
  readonly apps: readonly string[];
  readonly actions: readonly string[];
  readonly on: boolean;
  readonly next?: { readonly from: number; readonly until: number };
}

const OPTIONS = [
  { flags: "--all", description: "in every environment" },
  { flags: "--from <time>", description: "start time, such as 2026-12-20T18:00Z; default: now" },
  { flags: "--until <time>", description: "end time" },
  { flags: "--cron <schedule>", description: "recurring start as a five-field cron expression" },
  { flags: "--for <duration>", description: "with --cron: duration" },
  { flags: "--tz <zone>", description: "time zone of --cron; default: UTC" },
  { flags: "--app <apps>", description: "only these apps, comma-separated; * matches any part" },
  { flags: "--action <actions>", description: "only these actions: deploy, config, scale, …" },
  { flags: "--reason <text>", description: "reason (required)" },
] as const;

const EMERGENCY = CONTROL_OPTIONS.filter(({ flags }) => flags === "--emergency");

const set = (kind: "window" | "freeze", summary: string, examples: readonly string[]): Command => ({
  usage: `${kind} set <name>`,
  summary,
  examples,
  options: [...OPTIONS, ...EMERGENCY],
  run: async ({ client, output, environment }, [name], options) => {
    const place = options["all"] === true ? "*" : environment;
    const emergency = options["emergency"] === true ? "?emergency=true" : "";
    const made = await client.put(
      `/v1/windows/${encodeURIComponent(place)}/${encodeURIComponent(String(name))}${emergency}`,
      bodyOf(kind, options),
    );
    output.result(made, () =>
      made.pending === undefined
        ? [`${kind} ${made.name}: ${nextText(made)}`, waitingText(made, output)]
            .filter(Boolean)
            .join("\n")
        : (waitingText(made, output) ?? ""),
    );
    return 0;
  },
});

function bodyOf(kind: "window" | "freeze", options: Options): Record<string, unknown> {
  const text = (key: string): string | undefined =>
    options[key] === undefined ? undefined : String(options[key]);
  const list = (key: string) =>
    text(key)
      ?.split(",")
      .map((one) => one.trim());
  const time = (key: string): number | undefined => {
    const given = text(key);
    if (given === undefined) return undefined;
    const at = timeIn(given, text("tz"));
    if (at !== undefined) return at;
    throw invalid("cli.bad_time", `--${key}: "${given}" is not a time`, {
      hint: "for example: 2026-12-20T18:00Z",
    });
  };
  if (text("reason") === undefined)
    throw invalid("window.no_reason", `a ${kind} needs a reason`, { hint: "--reason <why>" });
  const isOnce = text("cron") === undefined;
  const [from, until] = [time("from"), time("until")];
  return {
    kind,
    reason: text("reason"),
    ...(isOnce && { from: from ?? Date.now() }),
    ...(until !== undefined && { until }),
    ...(!isOnce && { schedule: text("cron") }),
    ...(text("for") !== undefined && { durationMs: durationMsOf(text("for"), "--for") }),
    ...(text("tz") !== undefined && { timezone: text("tz") }),
    ...(list("app") && { apps: list("app") }),
    ...(list("action") && { actions: list("action") }),
  };
}

/** A time that names no zone is one of `--tz`; without that, of this machine. */
function timeIn(text: string, timezone: string | undefined): number | undefined {
  const at = Date.parse(text);
  if (!Number.isFinite(at)) return undefined;
  const isDate = /^\d{4}-\d\d-\d\d$/.test(text);
  const namesZone = !isDate && /(?:Z|[+-]\d\d:?\d\d)$/i.test(text);
  if (timezone === undefined || namesZone) return at;
  try {
    return fromWallClock(timezone, isDate ? at : Date.parse(`${text}Z`));
  } catch {
    throw invalid("cli.bad_zone", `--tz: "${timezone}" is not a time zone`, {
      hint: "for example: Europe/Madrid",
    });
  }
}

function nextText({
  kind,
  on = false,
  next,
}: Pick<WindowView, "kind" | "next"> & { readonly on?: boolean }): string {
  if (!next) return "never again";
  const end = next.until >= Number.MAX_SAFE_INTEGER ? "further notice" : iso(next.until);
  const what = kind === "freeze" ? "no change" : "change allowed";
  return `${what} from ${on || next.from === 0 ? "now" : iso(next.from)} until ${end}`;
}

const iso = (at: number): string => new Date(at).toISOString().replace(/:\d\d\.\d+Z$/, "Z");

const list = (kind: "window" | "freeze"): Command => ({
  usage: `${kind} list`,
  summary: "List change windows and freezes with their next occurrence.",
  examples: [`holdfast ${kind} list`],
  run: async ({ client, output }) => {
    const facts = await client.get("/v1/windows");
    output.result(facts, () => render(facts.windows, output));
    return 0;
  },
});

function render(windows: readonly WindowView[], output: Output): string {
  if (windows.length === 0) return "none: changes may run at any time";
  return output.table(
    windows.map((one) => [
      one.name,
      one.on ? output.paint(one.kind === "freeze" ? "red" : "green", `${one.kind}, on`) : one.kind,
      one.schedule === undefined ? "once" : `${one.schedule} ${one.timezone}`,
      nextText(one),
      [...one.apps, ...one.actions].join(", ") || "all changes",
      one.reason,
    ]),
    ["", "kind", "when", "", "of", "why"],
  );
}

const remove = (kind: "window" | "freeze"): Command => ({
  usage: `${kind} remove <name>`,
  summary: `Remove a ${kind}.`,
  examples: [`holdfast ${kind} remove holidays`],
  options: [{ flags: "--all", description: "the one for all environments" }, ...CONTROL_OPTIONS],
  run: async ({ client, output, environment }, [name], options) => {
    const place = options["all"] === true ? "*" : environment;
    const facts = await client.delete(
      `/v1/windows/${encodeURIComponent(place)}/${encodeURIComponent(String(name))}`,
      controlFacts(options),
    );
    output.result(facts, () =>
      facts.pending === undefined
        ? [`${place}/${String(name)} is removed`, waitingText(facts, output)]
            .filter(Boolean)
            .join("\n")
        : (waitingText(facts, output) ?? ""),
    );
    return 0;
  },
});

export const freezeSet = set(
  "freeze",
  "Create or update a freeze: no changes are allowed during it.",
  [
    "holdfast freeze set holidays --from 2026-12-20 --until 2027-01-03 --reason holidays",
    "holdfast freeze set weekend --cron '0 18 * * 5' --for 62h --tz Europe/Madrid --reason weekend",
  ],
);
export const freezeList = list("freeze");
export const freezeRemove = remove("freeze");
export const windowSet = set(
  "window",
  "Create or update a change window: changes are allowed only during it.",
  [
    "holdfast window set office --cron '0 9 * * 1-4' --for 7h --tz Europe/Madrid --reason 'somebody is there'",
  ],
);
export const windowList = list("window");
export const windowRemove = remove("window");
