// One who may look at one environment asks every route of the API about another, in every spelling of
// the parameter: nothing of it comes back.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { AppFolder, ECHO_SERVER } from "../support/app-folder.ts";
import { Installation } from "../support/installation.ts";
import { until } from "../support/wait.ts";

/** In names and values of everything that production has. */
const JEWEL = "crownjewel";

interface OpenApi {
  readonly paths: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** The first of what comes; it goes on until nobody reads. */
async function firstOf(answer: Response): Promise<string> {
  const reader = answer.body?.getReader();
  const { value } = (await reader?.read()) ?? {};
  await reader?.cancel();
  const text = Buffer.from(value ?? []).toString();
  assert.ok(answer.status >= 300 || text.includes('{"resources":'), text);
  return text;
}

describe("an account of one environment", { timeout: 300_000 }, () => {
  const holdfast = new Installation();
  const folders: AppFolder[] = [];
  let token = "";
  let api = "";
  let paths: OpenApi["paths"] = {};

  const ask = async (method: string, path: string, init: RequestInit = {}): Promise<Response> =>
    fetch(`${api}${path}`, {
      ...init,
      method,
      headers: { authorization: `Bearer ${token}`, ...init.headers },
      signal: AbortSignal.timeout(4_000),
    });
  const assertNothing = async (what: string, answer: Response): Promise<void> => {
    // A stream that goes on is one that was let in; what is watched goes on, with what one may see.
    const text = what.startsWith("/v1/watch/")
      ? await firstOf(answer)
      : await answer.text().catch(() => JEWEL);
    if (answer.status < 300)
      assert.ok(!text.includes(JEWEL), `${what} → ${answer.status} ${text.slice(0, 300)}`);
  };

  before(async () => {
    await holdfast.ok("up", "--install");
    await holdfast.ok("env", "create", "staging", "--class", "staging");
    for (const [name, env] of [
      [JEWEL, "production"],
      ["plain", "staging"],
    ] as const) {
      const folder = new AppFolder(
        {
          "server.js": `console.log("${name} says hello");${ECHO_SERVER}`,
          "holdfast.yaml": `name: ${name}\nservices:\n  web: { command: node server.js, routes: [{ host: ${name}.localhost }] }\n`,
        },
        name,
      );
      folders.push(folder);
      await holdfast.ok("deploy", folder.dir, "--env", env);
    }
    await holdfast.ok("account", "set", "sam", "--role", "staging/developer,staging/operator");
    token = (await holdfast.ok("token", "create", "sam")).trim();
    api = `http://127.0.0.1:${holdfast.ports.api}`;
    paths = ((await (await ask("GET", "/openapi.json")).json()) as OpenApi).paths;
    await until("production's lines can be found", async () =>
      (await holdfast.ok("logs", JEWEL)).includes("says hello"),
    );
    await until("production is in the metrics", async () =>
      (await holdfast.ok("metrics", "holdfast_instance_wanted")).includes(JEWEL),
    );
  });
  after(async () => {
    await holdfast.close();
    for (const folder of folders) folder.remove();
  });

  it("gets nothing of another by any route that looks, however it spells where", async () => {
    const sql = "SELECT * FROM logs";
    const fill = (path: string, environment: string): string =>
      path
        .replace("{environment}", environment)
        .replace("{app}", JEWEL)
        .replace("{label}", "app")
        .replaceAll(/\{\w+\}/g, "1");
    const spellings = [
      "",
      "environment=production",
      "environment=staging&environment=production",
      "environment=production&environment=staging",
      "environment[]=production",
      "environment[0]=production",
      "Environment=production",
      "environment=staging&env=production",
      "environment=*",
      "environment=",
      "environment=staging%00production",
      "environment=production%20",
      "environment=staging/../production",
      "environment=staging&place=production&scope=production&app=crownjewel",
    ];
    const questions =
      "query=holdfast_instance_wanted&match[]=holdfast_instance_wanted&sql=SELECT+1";
    let count = 0;
    for (const [path, methods] of Object.entries(paths)) {
      if (!methods["get"] || path === "/openapi.json") continue;
      const places = path.includes("{environment}") ? ["production", "staging"] : [""];
      for (const place of places)
        for (const spelling of spellings) {
          const url = `${fill(path, place)}?${[questions, spelling].filter(Boolean).join("&")}`;
          await assertNothing(url, await ask("GET", url));
          count += 1;
        }
    }
    assert.ok(count > 500, `${count} questions were asked`);
    for (const body of [
      { sql },
      { sql, environment: "production" },
      { sql, environment: ["staging", "production"] },
      { sql, environment: "staging", Environment: "production" },
    ])
      for (const query of ["", "?environment=staging", "?environment=production"])
        await assertNothing(
          `POST /v1/query${query} ${JSON.stringify(body)}`,
          await ask("POST", `/v1/query${query}`, {
            body: JSON.stringify(body),
            headers: { "content-type": "application/json" },
          }),
        );
  });

  it("gets nothing of another by a question in PromQL, whatever its selectors say", async () => {
    const queries = [
      "holdfast_instance_wanted",
      'holdfast_instance_wanted{environment="production"}',
      'holdfast_instance_wanted{environment=~".+"}',
      '{__name__=~".+"}',
      "count by (app, environment) ({__name__=~'holdfast.*'})",
      'holdfast_instance_wanted{app="plain"} or holdfast_instance_wanted',
      'label_replace(holdfast_instance_wanted, "environment", "staging", "", "")',
      "max_over_time(holdfast_instance_wanted[10m:1m] offset 0s)",
      "holdfast_instance_wanted # {",
    ];
    const own = async (): Promise<string> =>
      (
        await ask(
          "GET",
          "/v1/prometheus/api/v1/query?environment=staging&query=holdfast_instance_wanted",
        )
      ).text();
    // Until there is something to see, nothing that is not seen proves anything.
    await until("its own it gets", async () => /plain/.test(await own()));
    for (const query of queries)
      for (const kind of ["GET", "form"])
        for (const environment of ["staging", "production", undefined]) {
          const place = environment === undefined ? "" : `environment=${environment}`;
          const form = new URLSearchParams({ query, environment: "staging" });
          const url = `/v1/prometheus/api/v1/query?${place}`;
          const answer = await (kind === "GET"
            ? ask("GET", `${url}&${new URLSearchParams({ query })}`)
            : ask("POST", url, { body: form }));
          await assertNothing(`${kind} ${url} ${query}`, answer);
          if (environment !== "staging") assert.equal(answer.status, 403, `${kind} ${url}`);
        }
    const values = await ask("GET", "/v1/prometheus/api/v1/label/app/values?environment=staging");
    assert.deepEqual(((await values.json()) as { data: string[] }).data, ["plain"]);
  });

  it("changes nothing of another by any route that writes, also where its body says where", async () => {
    const before = await holdfast.status<{ apps: unknown }>();
    for (const [path, methods] of Object.entries(paths)) {
      for (const method of ["post", "put", "patch", "delete"]) {
        if (!methods[method] || path.startsWith("/git/")) continue;
        for (const query of ["", "?environment=staging", "?environment=production"]) {
          const url = path
            .replace("{environment}", "production")
            .replace("{app}", JEWEL)
            .replaceAll(/\{\w+\}/g, "1");
          const answer = await ask(method.toUpperCase(), url + query, {
            body: JSON.stringify({ environment: "staging", app: "plain", instances: {} }),
            headers: { "content-type": "application/json" },
          });
          await assertNothing(`${method} ${url}${query}`, answer);
          if (path.includes("{environment}"))
            assert.ok(answer.status >= 400, `${method} ${url}${query} → ${answer.status}`);
        }
      }
    }
    const { apps } = await holdfast.status<{ apps: unknown }>();
    assert.deepEqual(shape(apps), shape(before.apps));
  });
});

/** What a change would change; how long things run moves by itself. */
const shape = (apps: unknown): unknown =>
  (apps as { name: string; release: number; generation: number }[]).map(
    ({ name, release, generation }) => ({ name, release, generation }),
  );
