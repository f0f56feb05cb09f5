// Commands that look.

import { invalid } from "../../kernel/error.ts";
import type { Command } from "../command.ts";
import { durationText } from "../output.ts";
import { chooseApp, wholeNumber } from "./change.ts";

interface ReleaseView {
  readonly number: number;
  readonly reason: string;
  readonly createdAt: number;
  readonly createdBy: string;
  readonly commit?: string;
  readonly state: string;
  readonly artifact?: string;
  readonly configVersion: number;
  readonly failure?: string;
}

export const releases: Command = {
  usage: "releases [app]",
  summary: "List the releases of an app, newest first.",
  examples: ["holdfast releases storefront"],
  run: async (context, [app]) => {
    const { client, output, environment } = context;
    const name = await chooseApp(context, app);
    const facts = await client.get<{ releases: ReleaseView[] }>(
      `/v1/apps/${environment}/${name}/releases`,
    );
    output.result(facts, () =>
      output.table(
        facts.releases.map((one) => [
          String(one.number),
          one.state === "serving"
            ? output.paint("green", one.state)
            : one.state === "failed"
              ? output.paint("red", one.state)
              : one.state,
          one.reason,
          one.commit?.slice(0, 10) ?? "-",
          one.artifact?.replace("sha256:", "").slice(0, 12) ?? "-",
          `${durationText(Date.now() - one.createdAt)} ago by ${one.createdBy}${one.failure ? `: ${one.failure}` : ""}`,
        ]),
        ["release", "state", "reason", "commit", "artifact", "made"],
      ),
    );
    return 0;
  },
};

export const open: Command = {
  usage: "open [app]",
  summary: "Print where users reach an app.",
  examples: ["holdfast open storefront"],
  run: async (context, [app]) => {
    const name = await chooseApp(context, app);
    const { apps, installation } = await context.client.get<{
      apps: { name: string; urls: string[] }[];
      installation: { ca: string };
    }>("/v1/status", { environment: context.environment });
    const found = apps.find((one) => one.name === name);
    if (!found)
      throw invalid("app.not_found", `${context.environment} has no app ${name}`, {
        hint: "holdfast status",
      });
    context.output.result(
      { app: name, urls: found.urls, ca: installation.ca },
      () => found.urls.join("\n") || `${name} has no route`,
    );
    return 0;
  },
};

interface AuditEvent {
  readonly seq: number;
  readonly at: number;
  readonly actor: string;
  readonly source: string;
  readonly action: string;
  readonly kind: string;
  readonly name: string;
  readonly change: readonly { field: string; from?: unknown; to?: unknown }[];
}

export const audit: Command = {
  usage: "audit",
  summary: "Show who changed what; --verify checks that nothing was edited, cut or reordered.",
  examples: ["holdfast audit -n 20", "holdfast audit --verify"],
  options: [
    { flags: "--verify", description: "follow the hash chain from its beginning" },
    { flags: "-n, --lines <count>", description: "how many events", default: "30" },
  ],
  run: async ({ client, output }, _args, options) => {
    if (options["verify"] === true) {
      const verdict = await client.get<{
        intact: boolean;
        events?: number;
        head?: string;
        brokenAt?: number;
        reason?: string;
      }>("/v1/audit/verify");
      output.result(verdict, () =>
        verdict.intact
          ? `${output.paint("green", "intact")}: ${verdict.events} events, head ${verdict.head}`
          : `${output.paint("red", "broken")} at event ${verdict.brokenAt}: ${verdict.reason}`,
      );
      return verdict.intact ? 0 : 3;
    }
    const { events } = await client.get<{ events: AuditEvent[] }>("/v1/audit", {
      limit: wholeNumber(String(options["lines"] ?? "30"), "-n", 1),
    });
    output.result({ events }, () =>
      output.table(
        events.map((event) => [
          String(event.seq),
          new Date(event.at).toISOString(),
          `${event.actor}@${event.source}`,
          event.action,
          `${event.kind} ${event.name}`,
          changesText(event),
        ]),
        ["#", "when", "who", "did", "to", "what changed"],
      ),
    );
    return 0;
  },
};

const CHANGES_SHOWN = 3;
const VALUE_MAX_CHARS = 40;

/** The first few fields; all of them, whole, are in --json. */
function changesText({ change }: AuditEvent): string {
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
