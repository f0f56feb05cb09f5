import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { OperationDeps } from "../operations/operation-deps.ts";
import { renderOpenApi } from "./openapi.ts";
import { createRoutes } from "./routes.ts";

interface Operation {
  readonly operationId: string;
  readonly tags: readonly string[];
  readonly summary: string;
  readonly parameters: readonly { readonly name: string; readonly description?: string }[];
  readonly responses: Readonly<
    Record<string, { readonly content: Readonly<Record<string, { readonly schema: object }>> }>
  >;
}

describe("the OpenAPI document", () => {
  const routes = createRoutes({ store: undefined } as unknown as OperationDeps);
  const document = renderOpenApi(routes) as {
    readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
    readonly components: { readonly schemas: Readonly<Record<string, unknown>> };
  };
  const operations = Object.values(document.paths).flatMap((path) => Object.values(path));

  it("has each route, with a name of its own, a tag and a summary", () => {
    assert.equal(operations.length, routes.length);
    const names = operations.map(({ operationId }) => operationId);
    assert.deepEqual(names, [...new Set(names)]);
    for (const { operationId, tags, summary } of operations) {
      assert.match(operationId, /^[a-z][a-zA-Z0-9]+$/);
      assert.ok(tags.length === 1 && summary.length > 5, operationId);
    }
  });

  it("says what each parameter is", () => {
    const silent = operations.flatMap(({ operationId, parameters }) =>
      parameters.filter((one) => !one.description).map(({ name }) => `${operationId} ${name}`),
    );
    assert.deepEqual(silent, []);
  });

  it("says what each route answers", () => {
    for (const { operationId, responses } of operations) {
      const [content] = Object.values(responses["200"]?.content ?? {});
      assert.ok(Object.keys(content?.schema ?? {}).length > 0, operationId);
    }
  });

  it("refers to nothing that it does not have", () => {
    const text = JSON.stringify(document);
    const named = [...text.matchAll(/"\$ref":"([^"]+)"/g)].map(([, ref]) => ref ?? "");
    assert.ok(named.length > 100);
    const missing = named.filter(
      (ref) => document.components.schemas[ref.replace("#/components/schemas/", "")] === undefined,
    );
    assert.deepEqual([...new Set(missing)], []);
  });
});
