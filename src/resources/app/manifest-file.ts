// holdfast.yaml from text to Manifest. Every mistake is told with its line, its column and, for an
// unknown key, the nearest one that exists; all of them at once, not one per attempt.

import { Cron } from "croner";
import { closest, distance } from "fastest-levenshtein";
import { type Document, isMap, isNode, LineCounter, parseDocument } from "yaml";
import { z } from "zod";
import { cronFieldsMistake } from "../../kernel/cron-fields.ts";
import { type HoldfastError, invalid, messageOf } from "../../kernel/error.ts";
import { REHEARSAL_TASK, RELEASE_TASK } from "./app-observed.ts";
import { componentsOf, type Manifest, manifestSchema } from "./manifest.ts";
import { checkRollout } from "./rollout-policy.ts";
import { SMOKE_TASK } from "./smoke-report.ts";

export const MANIFEST_FILE = "holdfast.yaml";
const MAX_BYTES = 256 * 1024;
const NEAR_ENOUGH = 4;
const MISTAKES_SHOWN = 20;

export interface ManifestMistake {
  readonly line: number | undefined;
  readonly column: number | undefined;
  /** `services.web.helth` */
  readonly field: string;
  readonly message: string;
}

export function parseManifest(text: string, file = MANIFEST_FILE): Manifest {
  if (text.length > MAX_BYTES)
    throw malformed(file, [mistake("", `is larger than ${MAX_BYTES / 1024} KB`)]);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    const mistakes = document.errors.map(({ message, pos }) => {
      const { line, col } = lines.linePos(pos[0]);
      return { line, column: col, field: "", message: message.split("\n")[0] ?? message };
    });
    throw malformed(file, mistakes);
  }
  const parsed = manifestSchema.safeParse(toValue(document, file) ?? {});
  if (!parsed.success) {
    const mistakes = parsed.error.issues.flatMap((issue) => explainIssue(issue, document, lines));
    throw malformed(file, mistakes);
  }
  const mistakes = checkManifest(parsed.data).map(({ path, message }) =>
    locate(path, message, document, lines, false),
  );
  if (mistakes.length > 0) throw malformed(file, mistakes);
  return parsed.data;
}

// Aliases that multiply are refused here, not when the text is read.
function toValue(document: Document, file: string): unknown {
  try {
    return document.toJS();
  } catch (cause) {
    throw malformed(file, [mistake("", messageOf(cause))]);
  }
}

/** What a schema can't say: rules between keys. */
export function checkManifest(
  manifest: Manifest,
): { path: (string | number)[]; message: string }[] {
  const mistakes: { path: (string | number)[]; message: string }[] = [];
  const seen = new Map<string, string>([
    [RELEASE_TASK, "the release command"],
    [REHEARSAL_TASK, "the rehearsal of the release command"],
    [SMOKE_TASK, "what smoke checks run as"],
  ]);
  for (const section of ["services", "workers", "jobs"] as const) {
    for (const component of Object.keys(manifest[section])) {
      const other = seen.get(component);
      if (other)
        mistakes.push({ path: [section, component], message: `${other} has this name already` });
      seen.set(component, `one of ${section}`);
    }
  }
  for (const [job, { schedule, timezone }] of Object.entries(manifest.jobs)) {
    const message = scheduleMistake(schedule, timezone);
    if (message) mistakes.push({ path: ["jobs", job, "schedule"], message });
  }
  const routes = new Map<string, string>();
  for (const [service, spec] of Object.entries(manifest.services)) {
    for (const [index, { host, path }] of spec.routes.entries()) {
      const other = routes.get(host + path);
      if (other) {
        mistakes.push({
          path: ["services", service, "routes", index],
          message: `${host}${path} leads to ${other} already`,
        });
      }
      routes.set(host + path, service);
    }
  }
  for (const { path, message } of checkRollout(manifest.rollout, manifest))
    mistakes.push({ path: ["rollout", ...path], message });
  for (const [environment, { rollout }] of Object.entries(manifest.environments))
    for (const { path, message } of rollout ? checkRollout(rollout, manifest) : [])
      mistakes.push({ path: ["environments", environment, "rollout", ...path], message });
  if (componentsOf(manifest).length === 0 && Object.keys(manifest.jobs).length === 0) {
    mistakes.push({ path: [], message: "says nothing to run: add services, workers or jobs" });
  }
  return mistakes;
}

function scheduleMistake(schedule: string, timezone: string): string | undefined {
  const fields = cronFieldsMistake(schedule);
  if (fields !== undefined) return fields;
  try {
    const next = new Cron(schedule, { timezone, paused: true }).nextRun();
    return next ? undefined : "never comes due";
  } catch (error) {
    return `is not a schedule: ${error instanceof Error ? error.message : String(error)}`;
  }
}

const WANTED: Readonly<Record<string, string>> = {
  object: "must have keys of its own, such as { key: value }",
  record: "must have keys of its own, such as { name: value }",
  array: "must be a list, such as [one, two]",
  string: 'must be text; numbers and true or false need quotes, such as "3"',
  number: "must be a number",
  boolean: "must be true or false",
};

function explainIssue(
  issue: z.core.$ZodIssue,
  document: Document,
  lines: LineCounter,
): ManifestMistake[] {
  const path = issue.path.filter((part) => typeof part !== "symbol");
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) =>
      locate([...path, key], unknownKey(key, path), document, lines, true),
    );
  }
  const isKey = issue.code === "invalid_key";
  const inner = isKey ? issue.issues[0]?.message : undefined;
  const isMissing = issue.code === "invalid_type" && issue.message.includes("received undefined");
  const wanted = issue.code === "invalid_type" ? WANTED[issue.expected] : undefined;
  const isOurs = issue.message.startsWith("must ");
  const message = isMissing
    ? "is required"
    : (inner ?? (isOurs ? undefined : wanted) ?? lowerFirst(issue.message));
  return [locate(path, message, document, lines, isKey)];
}

function unknownKey(key: string, path: readonly (string | number)[]): string {
  const known = knownKeys(path);
  const near = known.length > 0 ? closest(key, known) : undefined;
  if (near && distance(key, near) <= NEAR_ENOUGH && distance(key, near) < key.length) {
    return `is not a key here; did you mean ${near}?`;
  }
  return `is not a key here; keys are: ${known.join(", ")}`;
}

// The keys that the published JSON Schema allows at a path.
function knownKeys(path: readonly (string | number)[]): string[] {
  let at: SchemaNode | undefined = manifestJsonSchema() as SchemaNode;
  for (const part of path) {
    at = at && unwrap(at);
    if (typeof part === "number") at = at?.items;
    else at = at?.properties?.[part] ?? (at?.additionalProperties || undefined);
  }
  return Object.keys((at && unwrap(at))?.properties ?? {});
}

interface SchemaNode {
  readonly properties?: Record<string, SchemaNode>;
  readonly additionalProperties?: SchemaNode | false;
  readonly items?: SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
}

const unwrap = (node: SchemaNode): SchemaNode =>
  node.anyOf?.find(({ properties }) => properties) ?? node;

export function manifestJsonSchema(): Record<string, unknown> {
  return {
    $id: "https://holdfast.dev/schema/holdfast.json",
    title: MANIFEST_FILE,
    ...z.toJSONSchema(manifestSchema, { io: "input", target: "draft-7" }),
  };
}

function locate(
  path: readonly (string | number)[],
  message: string,
  document: Document,
  lines: LineCounter,
  wantsKey: boolean,
): ManifestMistake {
  const field = path.join(".");
  const offset = offsetOf(path, document, wantsKey);
  const { line, col } = lines.linePos(offset ?? 0);
  return { line, column: col, field, message };
}

// Where the value of a path begins (or its key); that of the nearest parent where it is missing.
function offsetOf(
  path: readonly (string | number)[],
  document: Document,
  wantsKey: boolean,
): number | undefined {
  for (let length = path.length; length >= 0; length -= 1) {
    const isWhole = length === path.length;
    const parent = document.getIn(path.slice(0, Math.max(0, length - 1)), true);
    if (length > 0 && isMap(parent) && (wantsKey || !isWhole)) {
      const key = parent.items
        .map(({ key }) => key)
        .find((key) => isNode(key) && String(key) === String(path[length - 1]));
      if (isNode(key) && key.range) return key.range[0];
    }
    const node = document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range) return node.range[0];
  }
  return undefined;
}

function malformed(file: string, mistakes: readonly ManifestMistake[]): HoldfastError {
  const text = mistakes.map((one) => {
    const where = one.line === undefined ? file : `${file}:${one.line}:${one.column}`;
    return `${where}: ${one.field ? `${one.field} ` : ""}${one.message}`;
  });
  const count = mistakes.length === 1 ? "" : `${mistakes.length} mistakes\n  `;
  const shown = text.slice(0, MISTAKES_SHOWN);
  if (text.length > shown.length) shown.push(`and ${text.length - shown.length} more`);
  return invalid("manifest.invalid", `${count}${shown.join("\n  ")}`, {
    hint: "nothing was changed; every key is explained in Holdfast's docs/reference/manifest.md",
  });
}

const mistake = (field: string, message: string): ManifestMistake => ({
  line: undefined,
  column: undefined,
  field,
  message,
});

const lowerFirst = (text: string): string => text.charAt(0).toLowerCase() + text.slice(1);
