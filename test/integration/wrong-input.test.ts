// What goes wrong gets what, why and what to do, and leaves everything as it was.

import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { AppFolder, ECHO_SERVER } from "../support/app-folder.ts";
import { ask } from "../support/ask.ts";
import { Installation } from "../support/installation.ts";

interface Case {
  readonly what: string;
  readonly files: Readonly<Record<string, string>>;
  readonly code: number;
  readonly says: readonly RegExp[];
}

const service = (rest: string): string =>
  `name: other\nservices: { web: { command: node server.js, ${rest} } }`;

const CASES: readonly Case[] = [
  {
    what: "an unknown key",
    files: { "holdfast.yaml": "name: other\nservices:\n  web:\n    comand: x\n" },
    code: 2,
    says: [/holdfast.yaml:4:5: services.web.comand is not a key here; did you mean command\?/],
  },
  {
    what: "YAML that is none",
    files: { "holdfast.yaml": "name: [" },
    code: 2,
    says: [/holdfast.yaml:1:\d+/],
  },
  {
    what: "nothing that says how to start",
    files: { "readme.txt": "hello" },
    code: 2,
    says: [/nothing says how to start it/, /Procfile/],
  },
  {
    what: "a route of another app",
    files: { "holdfast.yaml": service("routes: [{ host: echo.localhost }]") },
    code: 2,
    says: [/echo.localhost\/ leads to production\/echo already/, /choose another host/],
  },
  {
    what: "a name of another app",
    files: { "holdfast.yaml": "name: echo\nservices: { web: { command: x } }" },
    code: 2,
    says: [/production\/echo is deployed from/, /--adopt/],
  },
  {
    what: "a secret that is not set",
    files: { "holdfast.yaml": `${service("")}\nsecrets: [STRIPE_KEY]` },
    code: 2,
    says: [/other needs STRIPE_KEY/, /holdfast secret set other STRIPE_KEY/],
  },
  {
    what: "a health check that is redirected",
    files: { "holdfast.yaml": service("health: { path: /moved, grace: 2s }") },
    code: 3,
    says: [/GET \/moved → 301 to https:\/\/elsewhere\//, /redirects are not followed/],
  },
  {
    what: "a health check that is not there",
    files: {
      "server.js": ECHO_SERVER.replace(
        "const body",
        "response.writeHead(404); return response.end('no such page'); const body",
      ),
      "holdfast.yaml": service("health: { path: /up, grace: 2s }"),
    },
    code: 3,
    says: [/GET \/up → 404: no such page \(expected 200-299\)/],
  },
  {
    what: "a command that ends at once",
    files: { "holdfast.yaml": "name: other\nservices: { web: { command: 'true' } }" },
    code: 3,
    says: [
      /ended with exit status 0 before it was ready; a service or worker must keep running/,
      /jobs or release/,
    ],
  },
  {
    what: "a command that does not exist",
    files: { "holdfast.yaml": "name: other\nservices: { web: { command: no-such-program } }" },
    code: 3,
    says: [/exit status 127/, /no-such-program/],
  },
  {
    what: "a build that fails",
    files: { "holdfast.yaml": `${service("")}\nbuild: { command: "echo broken; exit 4" }` },
    code: 3,
    says: [
      /the build failed: "echo broken; exit 4" ended with exit status 4/,
      /broken/,
      /holdfast logs other\/build/,
    ],
  },
];

describe("wrong input", { timeout: 300_000 }, () => {
  const holdfast = new Installation();
  const echo = new AppFolder({
    "server.js": ECHO_SERVER,
    "holdfast.yaml":
      "name: echo\nservices: { web: { command: node server.js, routes: [{ host: echo.localhost }] } }",
  });
  const folders: AppFolder[] = [echo];
  const deploy = (files: Readonly<Record<string, string>>, adopt = true) => {
    const folder = new AppFolder({ "server.js": ECHO_SERVER, ...files });
    folders.push(folder);
    return holdfast.run(["deploy", folder.dir, ...(adopt ? ["--adopt"] : [])]);
  };

  before(async () => {
    await holdfast.ok("up", "--install");
    await holdfast.ok("deploy", echo.dir);
  });
  after(async () => {
    await holdfast.close();
    for (const folder of folders) folder.remove();
  });

  for (const { what, files, code, says } of CASES) {
    it(`${what}: says what, why and what to do, and disturbs nothing`, async () => {
      const { code: given, stdout, stderr } = await deploy(files, what !== "a name of another app");
      assert.equal(given, code, stdout + stderr);
      for (const pattern of says) assert.match(stdout + stderr, pattern);
      assert.equal((await ask(holdfast, { host: "echo.localhost" })).status, 200);
    });
  }

  it("a fixed port that is in use", async () => {
    const server = createServer();
    const port = await new Promise<number>((resolve) =>
      server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port)),
    );
    const { code, stdout } = await deploy({ "holdfast.yaml": service(`port: ${port}`) });
    server.close();
    assert.equal(code, 3);
    assert.match(stdout, new RegExp(`port ${port} is in use; let it listen on \\$PORT`));
  });

  it("commands and options that are none, with the nearest that is", async () => {
    const { code, stderr } = await holdfast.run(["deplyo"]);
    assert.equal(code, 2);
    assert.match(stderr, /Did you mean deploy\?/);
    assert.equal((await holdfast.run(["scale", "echo", "web"])).code, 2);
    assert.equal((await holdfast.run(["scale", "echo", "nothing=1"])).code, 2);
    assert.equal((await holdfast.run(["rollback", "echo", "--to", "99"])).code, 2);
    assert.equal((await holdfast.run(["logs", "nothing"])).code, 2);
    assert.equal((await holdfast.run(["logs", "echo", "--since", "yesterday"])).code, 2);
  });

  it("errors as JSON for scripts", async () => {
    const { code, stdout } = await holdfast.run(["rollback", "nothing", "--json"]);
    assert.equal(code, 2);
    const { error } = JSON.parse(stdout) as { error: { code: string; hint: string } };
    assert.equal(error.code, "app.not_found");
    assert.match(error.hint, /its apps are: echo/);
  });

  it("an API without a token, or with a wrong one", async () => {
    const url = `http://127.0.0.1:${holdfast.ports.api}`;
    for (const headers of [{}, { authorization: "Bearer wrong" }] as Record<string, string>[]) {
      const answer = await fetch(`${url}/v1/status`, { headers });
      assert.equal(answer.status, 401);
      assert.match(answer.headers.get("content-type") ?? "", /^application\/problem\+json/);
    }
    const { readFileSync } = await import("node:fs");
    const token = readFileSync(join(holdfast.home, "state", "admin.token"), "utf8").trim();
    assert.equal(
      (await fetch(`${url}/v1/status`, { headers: { authorization: `Bearer ${token}` } })).status,
      200,
    );
    assert.equal((await fetch(`${url}/openapi.json`)).status, 200);
  });

  it("a damaged state file: refused with a way back, while what runs serves on", async () => {
    await holdfast.ok("down");
    writeFileSync(join(holdfast.home, "state", "holdfast.db"), "garbage ".repeat(4_000));
    const { code, stderr } = await holdfast.run(["up"]);
    assert.equal(code, 3, stderr);
    assert.match(stderr, /the state file .* is damaged/);
    assert.match(stderr, /--restore-state/);
    assert.equal((await ask(holdfast, { host: "echo.localhost" })).status, 200);
    await holdfast.ok("up", "--restore-state");
    assert.equal((await ask(holdfast, { host: "echo.localhost" })).status, 200);
    assert.ok(existsSync(join(holdfast.home, "state", "holdfast.db")));
  });
});
