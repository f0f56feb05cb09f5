// The OpenAPI document, from the same values that the server is made of.

import { z } from "zod";
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

export function renderOpenApi(routes: readonly Route[]): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operation(route) };
  }
  return {
    openapi: "3.1.0",
    info: { title: "Holdfast", version: "1", description: "The API of a Holdfast installation." },
    security: [{ bearer: [] }],
    paths,
    components: {
      securitySchemes: { bearer: { type: "http", scheme: "bearer" } },
      schemas: { Problem: PROBLEM },
    },
  };
}

function operation(route: Route): Record<string, unknown> {
  const type = route.answers === "stream" ? "application/x-ndjson" : "application/json";
  const body = bodyOf(route);
  return {
    summary: route.summary,
    parameters: [...parameters(route.params, "path"), ...parameters(route.query, "query")],
    ...(body && { requestBody: { required: true, content: body } }),
    ...(route.open && { security: [] }),
    responses: {
      200: { description: "Done", content: { [type]: { schema: answerOf(route) } } },
      default: {
        description: "A problem",
        content: {
          "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } },
        },
      },
    },
  };
}

const answerOf = ({ answers }: Route): unknown =>
  answers === undefined || answers === "stream" ? {} : jsonSchema(answers);

function bodyOf(route: Route): Record<string, unknown> | undefined {
  if (route.takes === "upload")
    return { "application/gzip": { schema: { type: "string", format: "binary" } } };
  return route.body && { "application/json": { schema: jsonSchema(route.body) } };
}

function parameters(schema: z.ZodType | undefined, where: "path" | "query"): unknown[] {
  if (!schema) return [];
  const { properties = {}, required = [] } = jsonSchema(schema) as {
    properties?: Record<string, unknown>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, inner]) => ({
    name,
    in: where,
    required: where === "path" || required.includes(name),
    schema: inner,
  }));
}

const jsonSchema = (schema: z.ZodType): Record<string, unknown> =>
  z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
