import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { OperationDeps } from "../operations/operation-deps.ts";
import { accessOf, WRITES } from "./route-access.ts";
import { createRoutes } from "./routes.ts";

describe("who may call what", () => {
  const routes = createRoutes({} as OperationDeps);

  it("is said for every route that writes", () => {
    for (const route of routes) if (!route.open) assert.ok(accessOf(route), route.path);
  });

  it("is said for no route that is not there", () => {
    const there = new Set(routes.map(({ method, path }) => `${method} ${path}`));
    assert.deepEqual(
      Object.keys(WRITES).filter((one) => !there.has(one)),
      [],
    );
  });

  it("leaves open only what asks nobody who they are", () => {
    const open = routes
      .filter((route) => route.open)
      .map(({ method, path }) => `${method} ${path}`);
    assert.deepEqual(open.sort(), [
      "GET /healthz",
      "POST /v1/channels/{channel}/deliver",
      "POST /v1/webhooks/{repository}",
    ]);
  });
});
