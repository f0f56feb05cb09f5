// The OpenAPI document, from the same values that the server is made of. What a route answers is read from
// the type of what handles it (scripts/answers.ts), where the route does not say it itself.

import { z } from "zod";
import ANSWERS from "./answers.json" with { type: "json" };
import type { Route } from "./route.ts";

const PROBLEM = {
  type: "object",
  required: ["type", "title", "status", "detail", "code", "actsNext"],
  properties: {
    type: { type: "string" },
    title: { type: "string" },
    status: { type: "integer" },
    detail: { type: "string" },
    code: { type: "string", description: "Stable and dotted, such as app.not_found." },
    actsNext: { enum: ["caller", "nobody-yet", "operator", "developer"] },
    hint: { type: "string", description: "What to do, as a command or a sentence." },
  },
};

/** Of parameters whose schema says nothing itself. */
const PARAMETERS: Readonly<Record<string, string>> = {
  environment: "Name of the environment, such as production.",
  app: "Name of the app.",
  service: "Name of the service.",
  release: "Number of the release.",
  generation: "The generation of the app that asked for the rollout.",
  number: "Its number.",
  limit: "How many at most.",
  after: "Only what comes after this one.",
  before: "Only what came before this one.",
  from: "From then on: ms since the epoch.",
  to: "Up to then: ms since the epoch.",
  account: "Name of the account.",
  channel: "Name of the channel.",
  export: "Name of the export.",
  repository: "Name of the repository.",
  secret: "Name of the secret, which is the variable that the app sees.",
  silence: "Id of the silence.",
  task: "Id of the task.",
  token: "Id of the token, not the token itself.",
  trace: "Id of the trace, 32 hex digits.",
  window: "Name of the window or freeze.",
  name: "Its name, or a part of it.",
  kind: "Only of this kind.",
  action: "Only this action.",
  actor: "Only of this account.",
  text: "Only with this in it.",
  reason: "Why, as the record of the change tells it.",
  emergency: "Past approvals, windows and freezes; it is reviewed afterwards.",
  overrideBudget: "Although the error budget is spent.",
  acceptContract: "Although it takes from the schema what a release still needs.",
  confirm: "The app's name once more.",
  data: "Its data, too.",
  adopt: "Although its source comes from another project than before.",
  commit: "Id of the commit.",
  folder: "Name of the folder that it was.",
  anchor: "A head that was noted elsewhere.",
  days: "Of the last so many days.",
  instance: "Name of the instance.",
  engine: "Name of the engine, such as edge.",
  follow: "Go on with what comes.",
  errors: "Only those that failed.",
  slow: "The slowest first.",
  query: "PromQL.",
  time: "As Prometheus has it: RFC 3339, or seconds since the epoch.",
  start: "As `time`.",
  end: "As `time`.",
  step: "Seconds, or a duration such as 5m.",
  timeout: "A duration such as 30s.",
  lookback_delta: "A duration such as 5m.",
  stats: "Beside the answer, how it was found.",
  "match[]": "Selectors of series.",
  metric: "Name of the metric.",
  type: "Of the rules: alert or record.",
  label: "Name of the label.",
  sinceMs: "Only what is younger than this, in milliseconds; 0 is everything.",
  origin: "Where the source comes from.",
};

type Schema = Readonly<Record<string, unknown>>;

const DERIVED: Readonly<Record<string, Schema>> = ANSWERS.routes;

export const keyOf = ({ method, path }: Pick<Route, "method" | "path">): string =>
  `${method} ${path}`;

export function renderOpenApi(routes: readonly Route[]): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  const schemas = new Schemas();
  const collections = new Set(
    routes
      .filter(({ path }) => path.endsWith("}"))
      .map(({ path }) => path.replace(/(\/\{\w+\})+$/, "")),
  );
  for (const route of routes) {
    const isCollection = collections.has(route.path);
    const own = operation(route, isCollection, schemas);
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: own };
  }
  return {
    openapi: "3.1.0",
    info: { title: "Holdfast", version: "1", description: "The API of a Holdfast installation." },
    security: [{ bearer: [] }],
    paths,
    components: {
      securitySchemes: { bearer: { type: "http", scheme: "bearer" } },
      schemas: { ...ANSWERS.components, ...schemas.named, Problem: PROBLEM },
    },
  };
}

function operation(route: Route, isCollection: boolean, schemas: Schemas): Record<string, unknown> {
  const body = bodyOf(route, schemas);
  return {
    operationId: operationIdOf(route, isCollection),
    tags: [tagOf(route)],
    summary: route.summary,
    parameters: [
      ...parameters(route.params, "path", schemas),
      ...parameters(route.query, "query", schemas),
    ],
    ...(body && { requestBody: { required: true, content: body } }),
    ...(route.open && { security: [] }),
    responses: {
      200: { description: "Done", content: answerOf(route, schemas) },
      default: {
        description: "A problem",
        content: {
          "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } },
        },
      },
    },
  };
}

function answerOf(route: Route, schemas: Schemas): Record<string, unknown> {
  const { answers } = route;
  if (answers === "bytes") return { "application/octet-stream": { schema: { format: "binary" } } };
  const schema =
    answers === undefined || answers === "stream"
      ? (DERIVED[keyOf(route)] ?? {})
      : schemas.of(answers, "output");
  return { [answers === "stream" ? "application/x-ndjson" : "application/json"]: { schema } };
}

function bodyOf(route: Route, schemas: Schemas): Record<string, unknown> | undefined {
  const binary = { schema: { type: "string", format: "binary" } };
  if (route.takes === "upload") return { "application/gzip": binary };
  if (route.takes) return { "application/octet-stream": binary };
  return route.body && { "application/json": { schema: schemas.of(route.body, "input") } };
}

function parameters(
  schema: z.ZodType | undefined,
  where: "path" | "query",
  schemas: Schemas,
): unknown[] {
  if (!schema) return [];
  const { properties = {}, required = [] } = schemas.of(schema, "input") as {
    properties?: Record<string, { readonly description?: string }>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, inner]) => {
    const description = inner.description ?? PARAMETERS[name];
    return {
      name,
      in: where,
      required: where === "path" || required.includes(name),
      ...(description !== undefined && { description }),
      schema: inner,
    };
  });
}

const STATIC = /^[a-z]/;

const words = (path: string): string[] =>
  path.split("/").filter((part) => part !== "" && part !== "v1");

/** `GET /v1/apps/{environment}/{app}/config` → `getAppConfig`; `listChanges`, `followLogs`. */
function operationIdOf({ method, path, answers }: Route, isCollection: boolean): string {
  const parts = words(path);
  const named = parts.flatMap((part, index) => {
    if (!STATIC.test(part)) return [];
    // One of them: what follows is its name.
    const isOne = parts[index + 1] !== undefined && !STATIC.test(parts[index + 1] ?? "");
    return [isOne ? singular(part) : part];
  });
  const text = named
    .flatMap((part) => part.split(/[^a-zA-Z0-9]+/))
    .map((part) => part.charAt(0).toUpperCase() + part.slice(1))
    .join("");
  const verb =
    answers === "stream"
      ? "follow"
      : method === "GET" && isCollection
        ? "list"
        : method.toLowerCase();
  return verb + text;
}

const singular = (noun: string): string =>
  noun.endsWith("ies") ? `${noun.slice(0, -3)}y` : noun.replace(/(?<!s)s$/, "");

/** What it is about: of an app or an environment, the part of it that is asked for. */
function tagOf({ path }: Pick<Route, "path">): string {
  const nouns = words(path).filter((part) => STATIC.test(part));
  const [first = "installation", second] = nouns;
  if (first === "environments" && second !== undefined) return second;
  return first;
}

/** Schemas as the document has them: those with an id once, under their names. */
class Schemas {
  readonly named: Record<string, unknown> = {};

  of(schema: z.ZodType, io: "input" | "output"): Record<string, unknown> {
    const { $defs = {}, ...rest } = this.#referring(
      z.toJSONSchema(schema, { io, unrepresentable: "any" }),
    ) as { $defs?: Record<string, unknown> };
    Object.assign(this.named, $defs);
    return rest;
  }

  #referring(schema: unknown): unknown {
    return JSON.parse(JSON.stringify(schema).replaceAll('"#/$defs/', '"#/components/schemas/'));
  }
}
