import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { assertKnown, CATALOG } from "./catalog.ts";

const FOLDERS = readdirSync(import.meta.dirname, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

describe("the catalog of kinds", () => {
  it("has each name once", () => {
    const names = CATALOG.map(({ name }) => name);
    assert.deepEqual(names, [...new Set(names)]);
  });

  it("lists every kind that is defined, each in a file that is named like its folder", async () => {
    const found = await Promise.all(
      FOLDERS.map(async (folder) => {
        const file = join(import.meta.dirname, folder, `${folder}.ts`);
        const values: unknown[] = Object.values(await import(file));
        return values.filter((value) => (CATALOG as unknown[]).includes(value));
      }),
    );
    assert.equal(new Set(found.flat()).size, CATALOG.length);
    const defined = readdirSync(import.meta.dirname, { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
      .flatMap((file) => {
        const text = readFileSync(join(import.meta.dirname, file), "utf8");
        return [...text.matchAll(/^export const [A-Z_]+ = (?:defineKind|engineKind)\b/gm)];
      });
    assert.equal(defined.length, CATALOG.length);
  });

  it("refuses a state with kinds that it does not have, by name", () => {
    assertKnown(CATALOG.map(({ name }) => name));
    assertKnown([]);
    assert.throws(() => assertKnown(["app", "flag", "bucket"]), {
      code: "state.unknown_kind",
      message: /does not know: flag, bucket/,
    });
  });
});
