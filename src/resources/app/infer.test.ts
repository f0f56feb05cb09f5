import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { appNameFrom, inferManifest } from "./infer.ts";

const infer = (files: Record<string, string>, folder = "shop") => inferManifest({ folder, files });

describe("inference", () => {
  it("takes a start script of package.json", () => {
    const { manifest, inferred } = infer({
      "package.json": JSON.stringify({
        name: "@acme/My_Shop",
        scripts: { start: "node server.js" },
      }),
    });
    assert.equal(manifest.name, "my-shop");
    assert.equal(manifest.services["web"]?.command, "node server.js");
    assert.equal(manifest.services["web"]?.routes[0]?.host, "my-shop.localhost");
    assert.match(inferred.join("\n"), /package.json: one service, web: node server.js/);
  });

  it("reads a Procfile: web, release, workers", () => {
    const { manifest } = infer({
      Procfile: "# comment\nweb: gunicorn app\nrelease: ./migrate\nmail_queue: ./work\n",
      "requirements.txt": "psycopg2-binary==2.9\n",
    });
    assert.equal(manifest.services["web"]?.command, "gunicorn app");
    assert.equal(manifest.release?.command, "./migrate");
    assert.deepEqual(Object.keys(manifest.workers), ["mail-queue"]);
    assert.notEqual(manifest.stores.postgres, undefined);
  });

  it("leaves the command to a Dockerfile", () => {
    const { manifest } = infer({ Dockerfile: "FROM debian:12", "package.json": "{}" });
    assert.equal(manifest.services["web"]?.command, undefined);
  });

  it("sees which stores a client library speaks to", () => {
    const pkg = { main: "index.js", dependencies: { pg: "8", ioredis: "5" } };
    const { manifest } = infer({ "package.json": JSON.stringify(pkg) });
    assert.deepEqual(Object.keys(manifest.stores).sort(), ["postgres", "redis"]);
  });

  it("fills a missing command of holdfast.yaml from package.json, and says so", () => {
    const files = {
      "holdfast.yaml": "name: a\nservices: { web: {} }",
      "package.json": JSON.stringify({ scripts: { start: "node ." } }),
    };
    const { manifest, inferred } = infer(files);
    assert.equal(manifest.services["web"]?.command, "node .");
    assert.equal(inferred.length, 1);
  });

  it("says what to do where nothing says how to start", () => {
    assert.throws(() => infer({}), {
      code: "app.no_start_command",
      message: /no holdfast.yaml, Procfile, Dockerfile/,
    });
    assert.throws(() => infer({ "package.json": "{}" }), {
      code: "app.no_start_command",
      message: /without a start script/,
    });
    assert.throws(() => infer({ "holdfast.yaml": "name: a\nservices: { web: {} }" }), {
      code: "app.no_start_command",
    });
    assert.throws(() => infer({ Procfile: "web node server.js" }), {
      code: "procfile.invalid",
      message: /Procfile:1/,
    });
    assert.throws(() => infer({ "package.json": "{" }), { code: "package_json.invalid" });
  });

  it("makes a name of any folder", () => {
    assert.equal(appNameFrom("My App (2)"), "my-app-2");
    assert.equal(appNameFrom("123"), "app");
    assert.equal(appNameFrom("x".repeat(50)).length, 30);
  });
});
