import { once } from "node:events";
import { createWriteStream } from "node:fs";
import type { AuditView } from "../../api/audit-routes.ts";
import { wholeNumber } from "../app/change.ts";
import type { Command, CommandContext, Options } from "../command.ts";
import { sinceMsOf } from "../telemetry/since.ts";

const FILTERS = ["actor", "action", "kind", "name", "text"] as const;

export const audit: Command = {
  usage: "audit",
  summary: "Search, verify and export the audit log.",
  details:
    "Each event is chained to the previous one by a keyed hash, so edits, cuts and reordering are detected. The head is logged and sent with notifications; --anchor proves that it is still part of the chain.",
  examples: [
    "holdfast audit -n 20",
    "holdfast audit --actor ana --name production/storefront --since 7d",
    "holdfast audit --verify --anchor 120:9f3c2a71d0b4e6f8",
    "holdfast audit --export audit.ndjson",
  ],
  options: [
    { flags: "--verify", description: "verify the hash chain from its beginning" },
    { flags: "--anchor <head>", description: "with --verify: a head that was recorded elsewhere" },
    {
      flags: "--export <file>",
      description: "write all events, oldest first; - is standard output",
    },
    { flags: "-n, --lines <count>", description: "number of events", default: "30" },
    { flags: "--since <duration>", description: "only of the last 5m, 2h, 7d" },
    { flags: "--actor <name>", description: "only events of this account" },
    { flags: "--action <action>", description: "only this action: deploy, approve, refused, …" },
    { flags: "--kind <kind>", description: "only this kind: app, change, account, …" },
    { flags: "--name <part>", description: "part of the name" },
    { flags: "--text <part>", description: "part of the changed fields" },
  ],
  run: async (context, _args, options) => {
    if (options["verify"] === true || options["anchor"] !== undefined)
      return verify(context, options);
    if (options["export"] !== undefined) return exportTo(context, String(options["export"]));
    const sinceMs = sinceMsOf(options["since"]);
    const { events } = await context.client.get("/v1/audit", {
      limit: wholeNumber(String(options["lines"] ?? "30"), "-n", 1),
      ...(sinceMs > 0 && { from: Date.now() - sinceMs }),
      ...Object.fromEntries(
        FILTERS.flatMap((key) => (options[key] === undefined ? [] : [[key, String(options[key])]])),
      ),
    });
    const { output } = context;
    output.result({ events }, () =>
      events.length === 0
        ? "no such event"
        : output.table(
            events.map((event) => [
              String(event.seq),
              new Date(event.at).toISOString(),
              `${event.actor}@${event.source}`,
              event.action,
              `${event.kind} ${event.name}`,
              event.outcome === "refused" || event.outcome === "failed"
                ? output.paint("red", event.outcome)
                : event.outcome,
              changesText(event),
            ]),
            ["#", "when", "who", "did", "to", "outcome", "what changed"],
          ),
    );
    return 0;
  },
};

async function verify({ client, output }: CommandContext, options: Options): Promise<number> {
  const verdict = await client.get("/v1/audit/verify", {
    ...(options["anchor"] !== undefined && { anchor: String(options["anchor"]) }),
  });
  output.result(verdict, () =>
    "events" in verdict
      ? `${output.paint("green", "intact")}: ${verdict.events} events, head ${verdict.events}:${verdict.head}`
      : `${output.paint("red", "broken")} at event ${verdict.brokenAt}: ${verdict.reason}`,
  );
  return "events" in verdict ? 0 : 3;
}

async function exportTo({ client, output }: CommandContext, file: string): Promise<number> {
  const target = file === "-" ? process.stdout : createWriteStream(file, { mode: 0o600 });
  let events = 0;
  for await (const event of client.events("/v1/audit/export")) {
    events += 1;
    if (!target.write(`${JSON.stringify(event)}\n`)) await once(target, "drain");
  }
  if (target === process.stdout) return 0;
  target.end();
  await once(target, "finish");
  output.result({ file, events }, () => `wrote ${events} events to ${file}`);
  return 0;
}

const CHANGES_SHOWN = 3;
const VALUE_MAX_CHARS = 40;

/** The first few fields; all of them, whole, are in --json. */
function changesText({ change }: AuditView): string {
  const shown = change
    .slice(0, CHANGES_SHOWN)
    .map(({ field, from, to }) => `${field}: ${valueText(from)} → ${valueText(to)}`);
  const more = change.length - shown.length;
  return [...shown, ...(more > 0 ? [`${more} more`] : [])].join(", ");
}

function valueText(value: unknown): string {
  if (value === undefined) return "–";
  if (Array.isArray(value)) return `[${value.length}]`;
  if (typeof value === "object" && value !== null) return `{${Object.keys(value).join(", ")}}`;
  const text = String(value);
  return text.length > VALUE_MAX_CHARS ? `${text.slice(0, VALUE_MAX_CHARS)}…` : text;
}
