import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { HoldfastError } from "../../kernel/error.ts";
import { storedManifest } from "./manifest.ts";
import { manifestJsonSchema, parseManifest } from "./manifest-file.ts";
import { parseDurationMs, parseSizeBytes } from "./quantity.ts";

function mistakesOf(text: string): string {
  try {
    parseManifest(text);
  } catch (error) {
    assert.ok(error instanceof HoldfastError);
    assert.equal(error.code, "manifest.invalid");
    assert.equal(error.actsNext, "caller");
    return error.message;
  }
  return assert.fail("it was accepted");
}

describe("holdfast.yaml", () => {
  it("fills in every default", () => {
    const manifest = parseManifest("name: shop\nservices: { web: { command: node web.js } }");
    const web = manifest.services["web"];
    assert.equal(web?.instances, 1);
    assert.equal(web.drain, 30_000);
    assert.equal(manifest.keepWarm, 600_000);
    assert.deepEqual(manifest.stores, {});
  });

  it("names line, column and the nearest key of an unknown one", () => {
    const text = "name: shop\nservices:\n  web:\n    comand: node web.js\n";
    assert.equal(
      mistakesOf(text),
      "holdfast.yaml:4:5: services.web.comand is not a key here; did you mean command?",
    );
  });

  it("lists the keys where none is near", () => {
    assert.match(
      mistakesOf("name: shop\nworkers: { w: { command: x, zzzzzz: 1 } }"),
      /keys are: command, instances, resources/,
    );
  });

  it("tells all mistakes at once", () => {
    const text =
      "name: Shop!\nservices:\n  web: { command: x, instances: -1, health: { interval: soon } }\n";
    const message = mistakesOf(text);
    assert.match(message, /3 mistakes/);
    assert.match(message, /holdfast.yaml:1:7: name must be/);
    assert.match(message, /services.web.health.interval must be a duration/);
  });

  it("says what is missing, at the place where it should be", () => {
    assert.match(mistakesOf("services: { web: { command: x } }"), /:1:1: name is required/);
    assert.match(
      mistakesOf("name: shop\nworkers:\n  mail: {}\n"),
      /holdfast.yaml:3:\d+: workers.mail.command is required/,
    );
  });

  it("refuses what would end a line, or mean something else, in the edge's configuration", () => {
    for (const health of [
      '{ path: "/ok\\n  lua-load /tmp/x" }',
      '{ path: "/he alth" }',
      '{ path: "/a#b" }',
      '{ host: "x\\n\\nglobal" }',
      '{ host: "a b" }',
      "{ interval: 0.5ms }",
    ])
      assert.match(
        mistakesOf(`name: shop\nservices: { web: { command: x, health: ${health} } }`),
        /must be/,
        health,
      );
  });

  it("says what was wanted where something of another kind stands", () => {
    assert.match(
      mistakesOf("name: shop\nservices: { web: { command: x, routes: shop.localhost } }"),
      /routes must be a list, such as/,
    );
    assert.match(
      mistakesOf("name: shop\nservices: { web: { command: x, health: { grace: 3 } } }"),
      /grace must be a duration with its unit/,
    );
  });

  it("refuses aliases that multiply", () => {
    const bomb = ["a: &a [x,x,x,x,x,x,x,x,x,x]"];
    for (const [from, to] of ["ab", "bc", "cd", "de"].map((pair) => [...pair]))
      bomb.push(`${to}: &${to} [${Array(10).fill(`*${from}`).join(",")}]`);
    assert.match(mistakesOf(bomb.join("\n")), /alias/);
  });

  it("refuses YAML that is none, with its line", () => {
    assert.match(mistakesOf("name: shop\nservices: [unclosed\n"), /^holdfast.yaml:\d+:\d+: /);
  });

  it("refuses schedules that are none, or never come due", () => {
    assert.match(
      mistakesOf('name: shop\njobs: { j: { command: x, schedule: "every day" } }'),
      /jobs.j.schedule is not a schedule/,
    );
  });

  it("refuses two components of one name, two equal routes, and an app that runs nothing", () => {
    assert.match(
      mistakesOf("name: s\nservices: { a: { command: x } }\nworkers: { a: { command: y } }"),
      /one of services has this name already/,
    );
    assert.match(
      mistakesOf(
        "name: s\nservices: { a: { command: x, routes: [{ host: h.com }] }, b: { command: x, routes: [{ host: h.com }] } }",
      ),
      /h.com\/ leads to a already/,
    );
    assert.match(mistakesOf("name: s"), /says nothing to run/);
  });

  it("publishes a schema that knows every key with a description", () => {
    const walk = (node: Record<string, unknown>, path: string): string[] => {
      const properties = (node["properties"] ?? {}) as Record<string, Record<string, unknown>>;
      return Object.entries(properties).flatMap(([key, value]) => {
        const described =
          value["description"] ??
          (value["items"] as { description?: string } | undefined)?.description ??
          ((value["additionalProperties"] || undefined) as { description?: string } | undefined)
            ?.description;
        return [...(described ? [] : [`${path}.${key}`]), ...walk(value, `${path}.${key}`)];
      });
    };
    assert.deepEqual(walk(manifestJsonSchema(), ""), []);
  });

  it("is read from where it is kept as it was written", () => {
    const storefront = join(import.meta.dirname, "../../../examples/storefront/holdfast.yaml");
    const texts = [
      "name: shop\nservices: { web: { command: node web.js } }",
      readFileSync(storefront, "utf8"),
      `name: shop
services:
  web: { command: run, env: { PORT: 80 }, health: { path: /up }, limits: {}, drain: 2m }
jobs: { tidy: { command: run, schedule: "@daily", timeout: 5m } }
stores: { postgres: {}, redis: null }
build: { resources: { memory: 1GB } }
rollout: { strategy: canary, steps: [5%, { share: 50%, for: 5m }] }
environments: { staging: { config: { A: true }, rollout: { preview: ask } } }`,
    ];
    for (const text of texts) {
      const manifest = parseManifest(text);
      const kept = JSON.parse(JSON.stringify(manifest)) as { keepWarm?: number };
      assert.deepEqual(storedManifest.parse(kept), manifest);
      // One of a build that did not know the key yet.
      delete kept.keepWarm;
      assert.deepEqual(storedManifest.parse(kept), { ...manifest, keepWarm: 600_000 });
    }
  });
});

describe("quantities", () => {
  it("read as people write them", () => {
    assert.equal(parseDurationMs("1h30m"), 5_400_000);
    assert.equal(parseDurationMs("250ms"), 250);
    assert.equal(parseDurationMs("5 minutes"), undefined);
    assert.equal(parseDurationMs(""), undefined);
    assert.equal(parseSizeBytes("256MB"), 256 * 1024 ** 2);
    assert.equal(parseSizeBytes("1.5gb"), 1.5 * 1024 ** 3);
    assert.equal(parseSizeBytes("10"), undefined);
  });
});
