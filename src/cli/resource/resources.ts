// Resources of any kind: shown as a file would have them, set and removed.

import { parse, stringify } from "yaml";
import type { ResourceView } from "../../api/resource-routes.ts";
import { type HoldfastError, invalid } from "../../kernel/error.ts";
import { CONTROL_OPTIONS, controlFacts, doneText } from "../app/change-options.ts";
import type { Command, CommandContext } from "../command.ts";
import type { Output } from "../output.ts";

interface KindView {
  readonly name: string;
  readonly summary: string;
  readonly declared: boolean;
}

export const get: Command = {
  usage: "get [kind] [name]",
  summary: "List or show resources of a kind; without one, list the kinds.",
  details: "-o yaml prints files for `holdfast apply`.",
  examples: ["holdfast get", "holdfast get window", "holdfast get policy production -o yaml"],
  options: [
    { flags: "-o, --output <format>", description: "yaml, json, or name", default: "" },
    { flags: "--watch", description: "print again on each change" },
  ],
  run: async (context, [kind, name], options) => {
    const { client, output, signal } = context;
    const format = formatOf(String(options["output"] ?? ""));
    if (typeof kind !== "string") {
      const facts = await client.get("/v1/kinds");
      output.result(facts, () => renderKinds(facts.kinds, output));
      return 0;
    }
    await assertKind(context, kind);
    if (typeof name === "string") {
      const found = await client.resource(kind, name);
      show([found], format || "yaml", output, found);
      return 0;
    }
    const environment = options["env"] === undefined ? undefined : String(options["env"]);
    if (options["watch"] === true) {
      const events = client.watch(kind, environment, signal);
      for await (const { resources } of events) show(resources, format, output, { resources });
      return 0;
    }
    const facts = await client.resources(kind, environment);
    show(facts.resources, format, output, facts);
    return 0;
  },
};

export const set: Command = {
  usage: "set <kind> <name> <pairs...>",
  summary: "Set fields of a resource; create it if it does not exist.",
  details:
    "Values are text, numbers, true, false, or YAML lists and maps: text=hello, apps=[shop, web]. field= removes a field.",
  examples: [
    'holdfast set notice maintenance text="Sunday 6:00 to 7:00 UTC: the database moves"',
    "holdfast set telemetry production retention.logs.days=14",
  ],
  options: CONTROL_OPTIONS,
  run: async (context, [kind, name, pairs], options) => {
    const { client, output } = context;
    await assertKind(context, String(kind));
    const before = await client.resource(String(kind), String(name)).catch((error: unknown) => {
      if ((error as HoldfastError).code === "resource.not_found") return undefined;
      throw error;
    });
    const spec = structuredClone(before?.spec ?? {}) as Record<string, unknown>;
    for (const pair of pairs as readonly string[]) setField(spec, pair);
    const facts = await client.putResource(String(kind), String(name), {
      spec,
      ...controlFacts(options),
    });
    output.result({ kind, name, ...facts }, () => doneText(`set ${kind} ${name}`, facts, output));
    return 0;
  },
};

export const remove: Command = {
  usage: "remove <kind> <name>",
  summary: "Remove a resource.",
  examples: ["holdfast remove notice maintenance"],
  options: CONTROL_OPTIONS,
  run: async (context, [kind, name], options) => {
    const { client, output } = context;
    await assertKind(context, String(kind));
    const facts = await client.removeResource(String(kind), String(name), controlFacts(options));
    output.result({ kind, name, ...facts }, () =>
      doneText(`removed ${kind} ${name}`, facts, output),
    );
    return 0;
  },
};

/** @throws kind.unknown, with what there is */
async function assertKind({ client }: Pick<CommandContext, "client">, kind: string): Promise<void> {
  const { kinds } = await client.get("/v1/kinds");
  if (kinds.some(({ name }) => name === kind)) return;
  const { closest } = await import("fastest-levenshtein");
  const names = kinds.map(({ name }) => name);
  throw invalid("kind.unknown", `there is no kind ${kind}`, {
    hint: `did you mean ${closest(kind, names)}? holdfast get lists them`,
  });
}

/** `retention.logs.days=14`; nothing after = takes the field away. */
function setField(spec: Record<string, unknown>, pair: string): void {
  const at = pair.indexOf("=");
  if (at < 1)
    throw invalid("set.bad_pair", `"${pair}" is not <field>=<value>`, { hint: "text=hello" });
  const path = pair.slice(0, at).split(".");
  if (path.some((key) => ["__proto__", "constructor", "prototype"].includes(key)))
    throw invalid("set.bad_pair", `"${pair}" is no field`, { hint: "text=hello" });
  const value = pair.slice(at + 1);
  const last = path.pop() ?? "";
  let inner = spec;
  for (const key of path) {
    const next = inner[key];
    const isMap = typeof next === "object" && next !== null && !Array.isArray(next);
    inner[key] = isMap ? next : {};
    inner = inner[key] as Record<string, unknown>;
  }
  if (value === "") delete inner[last];
  else inner[last] = yamlValue(value);
}

/** A number, a truth value, a list or a map; anything else is text as it stands, colons and all. */
function yamlValue(text: string): unknown {
  if (!/^(?:-?\d+(?:\.\d+)?|true|false|[[{].*)$/s.test(text)) return text;
  try {
    return parse(text);
  } catch {
    return text;
  }
}

function formatOf(text: string): "" | "yaml" | "json" | "name" {
  if (text === "" || text === "yaml" || text === "json" || text === "name") return text;
  throw invalid("get.bad_format", `there is no format ${text}`, { hint: "yaml, json or name" });
}

function show(
  resources: readonly ResourceView[],
  format: "" | "yaml" | "json" | "name",
  output: Output,
  facts: unknown,
): void {
  if (format === "json" && !output.isJson) {
    output.line(facts, JSON.stringify(facts, null, 2));
    return;
  }
  output.result(facts, () => {
    if (format === "name") return resources.map(({ kind, name }) => `${kind}/${name}`).join("\n");
    if (format === "yaml")
      return resources
        .map(({ kind, name, spec }) => stringify({ kind, name, spec }).trimEnd())
        .join("\n---\n");
    if (resources.length === 0) return "none";
    return output.table(
      resources.map((one) => [one.name, String(one.generation), summaryOf(one.spec)]),
      ["", "version", ""],
    );
  });
}

const SUMMARY_CHARS = 100;

function summaryOf(spec: unknown): string {
  const text = Object.entries((spec ?? {}) as Readonly<Record<string, unknown>>)
    .map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(" ");
  return text.length > SUMMARY_CHARS ? `${text.slice(0, SUMMARY_CHARS)}…` : text;
}

const renderKinds = (kinds: readonly KindView[], output: Output): string =>
  output.table(
    kinds.map(({ name, summary, declared }) => [name, declared ? "files" : "", summary]),
    ["kind", "set by", ""],
  );
