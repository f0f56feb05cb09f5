// Golden files: what the edge is to do → HAProxy's configuration and maps. A file holds the input,
// a line of dashes, and the expected text. HOLDFAST_GOLDEN=write writes what is rendered now.

import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { EdgeState } from "../../src/drivers/haproxy/edge-state.ts";
import { type EdgeLayout, renderConfig } from "../../src/drivers/haproxy/haproxy-config.ts";
import {
  internalEntries,
  renderMap,
  routeEntries,
} from "../../src/drivers/haproxy/haproxy-maps.ts";

const FOLDER = join(import.meta.dirname, "..", "fixtures", "haproxy");
const DASHES = "\n---\n";

describe("HAProxy configuration", () => {
  for (const file of readdirSync(FOLDER)) {
    it(`is as ${file} says`, () => {
      const path = join(FOLDER, file);
      const [input = "", expected = ""] = readFileSync(path, "utf8").split(DASHES);
      const { state, layout } = JSON.parse(input) as { state: EdgeState; layout: EdgeLayout };
      const rendered = [
        renderConfig(state, layout),
        "# routes.map",
        renderMap(routeEntries(state, layout)),
        "# internal.map",
        renderMap(internalEntries(state)),
      ].join("\n");
      if (process.env["HOLDFAST_GOLDEN"] === "write")
        writeFileSync(path, `${input}${DASHES}${rendered}`);
      else assert.equal(rendered, expected);
    });
  }
});
