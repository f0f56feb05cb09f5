// The example shop on real engines: what a person does, from the first start to the end.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { Client } from "../../src/client/client.ts";
import { AnswerCheck, type OpenApiDocument } from "../support/answers.ts";
import { ask } from "../support/ask.ts";
import { Installation, STOREFRONT } from "../support/installation.ts";
import { pidOf } from "../support/instance-process.ts";
import { until } from "../support/wait.ts";

const HOST = "storefront.localhost";

interface Ended {
  readonly outcome: string;
  readonly release: number;
  readonly serving?: number;
  readonly startedAt: number;
  readonly endedAt: number;
  readonly failure?: { reason: string; hint: string; log: string[] };
}

interface Status {
  readonly apps: readonly {
    name: string;
    release?: number;
    instances: {
      name: string;
      component: string;
      release: number;
      state: string;
      restarts: number;
    }[];
    traffic: { service: string; release: number; requests: number; p50Ms: number }[];
  }[];
  readonly engines: readonly { kind: string; state: string }[];
  readonly blocked: readonly { what: string; reason: string; hint: string }[];
}

/** A file that went meanwhile, such as an old copy of the state, holds nothing. */
function isIn(file: string, text: string): boolean {
  try {
    return readFileSync(file).includes(text);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

describe("the shop", { timeout: 600_000 }, () => {
  const holdfast = new Installation();
  const statusNow = (): Promise<Status> => holdfast.status<Status>();
  const shop = async (): Promise<Status["apps"][number]> => {
    const app = (await statusNow()).apps.find(({ name }) => name === "storefront");
    assert.ok(app);
    return app;
  };
  const failing = async (...args: string[]): Promise<Ended> => {
    const { code, stdout } = await holdfast.run([...args, "--json"]);
    assert.equal(code, 3, stdout);
    return JSON.parse(stdout) as Ended;
  };
  const order = (key: string) =>
    ask(holdfast, {
      host: HOST,
      path: "/api/orders",
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": key },
      body: '{"items":[{"sku":"mug-enamel","quantity":2}],"email":"ana@example.com"}',
    });

  before(async () => {
    await holdfast.ok("up", "--install");
    await holdfast.ok("deploy", STOREFRONT);
  });
  after(() => holdfast.close());

  it("answers over HTTPS with its pages, products and version", async () => {
    const page = await ask(holdfast, { host: HOST });
    assert.equal(page.status, 200);
    assert.match(page.text, /Two-person tent/);
    const { products } = JSON.parse(
      (await ask(holdfast, { host: HOST, path: "/api/products" })).text,
    ) as { products: unknown[] };
    assert.equal(products.length, 9);
    const version = JSON.parse((await ask(holdfast, { host: HOST, path: "/version" })).text) as {
      release: string;
      instance: string;
    };
    assert.equal(version.release, "1");
    assert.match(version.instance, /^production\.storefront\.web\.r1\.\d$/);
  });

  it("takes orders once per key, never more than there is, and mails a confirmation", async () => {
    const first = await order("key-1");
    assert.equal(first.status, 201);
    const { id } = JSON.parse(first.text) as { id: string };
    assert.equal((JSON.parse((await order("key-1")).text) as { id: string }).id, id);
    const stored = JSON.parse(
      (await ask(holdfast, { host: HOST, path: `/api/orders/${id}` })).text,
    ) as { totalCents: number };
    assert.equal(stored.totalCents, 1_980);
    const buyAll = (n: number) =>
      ask(holdfast, {
        host: HOST,
        path: "/api/orders",
        method: "POST",
        headers: { "content-type": "application/json" },
        body: `{"items":[{"sku":"rope-60","quantity":${n}}]}`,
      });
    const answers = await Promise.all(Array.from({ length: 12 }, () => buyAll(10)));
    assert.equal(
      answers.filter(({ status }) => status === 201).length,
      8,
      "80 ropes are 8 orders of 10",
    );
    assert.equal(answers.filter(({ status }) => status === 409).length, 4);
    await until(
      "the mail is sent",
      async () =>
        (
          await holdfast.query<{ n: string }>(
            "storefront",
            "SELECT count(*) AS n FROM outbox WHERE sent_at IS NOT NULL",
          )
        )[0]?.n === "1",
    );
    assert.equal(
      (await ask(holdfast, { host: HOST, path: "/api/orders", method: "POST", body: "{" })).status,
      400,
    );
  });

  it("gives services a role that reads and writes rows, and no more", async () => {
    await assert.rejects(
      holdfast.query("storefront", "CREATE TABLE mine (id int)"),
      /permission denied/,
    );
    await assert.rejects(
      holdfast.query("storefront", "SELECT pg_read_file('/etc/passwd')"),
      /permission denied/,
    );
    const redis = await holdfast.run([
      "run",
      "storefront",
      "--",
      `node -e "const {createClient}=require('@redis/client');const c=createClient({url:process.env.REDIS_URL});c.connect().then(()=>c.set('other:x','1')).then(()=>process.exit(0),e=>{console.log(e.message);process.exit(9)})"`,
    ]);
    assert.equal(redis.code, 9);
    assert.match(redis.stdout, /NOPERM/);
  });

  it("forgets carts that were left behind, as its nightly job does", async () => {
    const output = await holdfast.ok("run", "storefront", "--", "node src/forget-sessions.ts");
    assert.match(output, /forgot old carts/);
  });

  it("deploys again beside what runs, and goes back at once while that is warm", async () => {
    const deployed = await holdfast.json<Ended>("deploy", STOREFRONT);
    assert.equal(deployed.outcome, "succeeded");
    assert.equal((await shop()).release, 2);
    const back = await holdfast.json<Ended>("rollback", "storefront");
    assert.equal(back.release, 1);
    // What it waits for is the worker, which must stay up for a second.
    assert.ok(back.endedAt - back.startedAt < 2_500, `${back.endedAt - back.startedAt} ms`);
  });

  it("restores settings together with the release that had them", async () => {
    await holdfast.ok("config", "set", "storefront", "BANNER=Sale today");
    assert.match((await ask(holdfast, { host: HOST })).text, /Sale today/);
    await holdfast.ok("rollback", "storefront");
    assert.doesNotMatch((await ask(holdfast, { host: HOST })).text, /Sale today/);
    const { values } = await holdfast.json<{ values: Record<string, string> }>(
      "config",
      "list",
      "storefront",
    );
    assert.deepEqual(values, {});
  });

  it("lets neither a setting nor a secret lead the app to another store", async () => {
    const before = await shop();
    for (const [args, code] of [
      [["config", "set", "storefront", "PGHOST=elsewhere"], /setting.is_store/],
      [["secret", "set", "storefront", "DATABASE_URL"], /secret.is_store/],
    ] as const) {
      const refused = await holdfast.run([...args, "--json"], "postgres://elsewhere/x");
      assert.equal(refused.code, 2);
      assert.match(refused.stderr + refused.stdout, code);
    }
    assert.equal((await shop()).release, before.release);
  });

  it("is bad in the way that STOREFRONT_FAULT asks for, and good again after a rollback", async () => {
    const statusesOfProducts = async (): Promise<number[]> =>
      (
        await Promise.all(
          Array.from({ length: 60 }, () => ask(holdfast, { host: HOST, path: "/api/products" })),
        )
      ).map(({ status }) => status);
    await holdfast.ok("config", "set", "storefront", "STOREFRONT_FAULT=errors:50%");
    const statuses = await statusesOfProducts();
    assert.ok(statuses.includes(500) && statuses.includes(200), String(statuses));
    await holdfast.ok("config", "set", "storefront", "STOREFRONT_FAULT=slow:700ms");
    const began = performance.now();
    assert.equal((await ask(holdfast, { host: HOST, path: "/api/products" })).status, 200);
    assert.ok(performance.now() - began >= 700);
    await holdfast.ok("config", "unset", "storefront", "STOREFRONT_FAULT");
    assert.ok((await statusesOfProducts()).every((status) => status === 200));
  });

  for (const [fault, reason] of [
    ["crash-at-start", /ended with exit status 1 before it was ready/],
    ["broken-migration", /the release command ended with exit status 1/],
  ] as const) {
    it(`keeps the old release when the new one has the fault ${fault}`, async () => {
      const { release: before } = await shop();
      const ended = await failing("config", "set", "storefront", `STOREFRONT_FAULT=${fault}`);
      assert.equal(ended.outcome, "failed");
      assert.match(ended.failure?.reason ?? "", reason);
      assert.ok((ended.failure?.log.length ?? 0) > 0);
      assert.equal(ended.serving, before);
      assert.equal(
        (
          JSON.parse((await ask(holdfast, { host: HOST, path: "/version" })).text) as {
            release: string;
          }
        ).release,
        String(before),
      );
      await until("it is said", async () =>
        (await statusNow()).blocked.some(({ what }) => what === "production/storefront"),
      );
      await holdfast.ok("rollback", "storefront");
    });
  }

  it("never sends a request to a release that does not become healthy, and shows its probe", async () => {
    const ended = await failing("config", "set", "storefront", "STOREFRONT_FAULT=never-healthy");
    assert.match(
      ended.failure?.reason ?? "",
      /did not become healthy within 30 s; last probe: GET \/healthz → 503/,
    );
    const seen = (await shop()).traffic.filter(({ release }) => release === ended.release);
    assert.deepEqual(seen, []);
    await holdfast.ok("rollback", "storefront");
  });

  it("takes a release back that crashes again and again, and says so", async () => {
    const serving = (await shop()).release;
    await holdfast.ok("config", "set", "storefront", "STOREFRONT_FAULT=crash-after:5s");
    let blocked: Awaited<ReturnType<typeof statusNow>>["blocked"] = [];
    await until("it is taken back", async () => {
      ({ blocked } = await statusNow());
      return blocked.some(({ reason }) => reason.includes("rolled back"));
    });
    assert.match(blocked[0]?.reason ?? "", /again and again \(exit status 1\); release \d+ serves/);
    assert.match(blocked[0]?.hint ?? "", /holdfast rollout storefront --release \d+/);
    assert.equal((await shop()).release, serving);
    await holdfast.ok("config", "unset", "storefront", "STOREFRONT_FAULT");
  });

  it("shows a crash loop as one where nothing takes it back, and says what to do", async () => {
    const dir = mkdtempSync(join(tmpdir(), "holdfast-shop-"));
    cpSync(STOREFRONT, dir, { recursive: true, filter: (path) => !path.includes("node_modules") });
    const manifest = readFileSync(join(dir, "holdfast.yaml"), "utf8");
    writeFileSync(
      join(dir, "holdfast.yaml"),
      `${manifest.replace('STOREFRONT_FAULT: ""', "STOREFRONT_FAULT: crash-after:5s")}\nrollout: { watch: 0s }\n`,
    );
    await holdfast.ok("deploy", dir, "--adopt");
    rmSync(dir, { recursive: true });
    await until("the crash loop is seen", async () =>
      (await statusNow()).blocked.some(({ reason }) => reason.includes("again and again")),
    );
    const { blocked } = await statusNow();
    assert.match(blocked[0]?.hint ?? "", /holdfast rollback storefront/);
    await holdfast.ok("rollback", "storefront");
  });

  it("scales up and down without touching the others", async () => {
    const before = (await shop()).instances
      .filter(({ component, state }) => component === "web" && state === "ready")
      .map(({ name }) => name);
    await holdfast.ok("scale", "storefront", "web=4");
    assert.equal(
      (await shop()).instances.filter(
        ({ component, state }) => component === "web" && state === "ready",
      ).length,
      4,
    );
    await holdfast.ok("scale", "storefront", "web=2");
    await until("two are left", async () => {
      const left = (await shop()).instances
        .filter(({ component, state }) => component === "web" && state !== "warm")
        .map(({ name }) => name);
      return JSON.stringify(left) === JSON.stringify(before);
    });
  });

  it("starts a killed instance again", async () => {
    const victim = (await shop()).instances.find(
      ({ component, state }) => component === "api" && state === "ready",
    );
    assert.ok(victim);
    process.kill(pidOf(holdfast, victim.name), "SIGKILL");
    await until("it is back", async () =>
      (await shop()).instances.some(
        ({ name, state, restarts }) => name === victim.name && state === "ready" && restarts === 1,
      ),
    );
  });

  it("starts killed stores and a killed edge again, with their data", async () => {
    for (const engine of [
      "environments/production/redis",
      "environments/production/postgres",
      "edge",
    ]) {
      const file = join(holdfast.home, engine, "run", "child");
      // Not there between two starts.
      const pidNow = (): number | undefined =>
        existsSync(file) ? Number.parseInt(readFileSync(file, "utf8"), 10) : undefined;
      const pid = pidNow();
      assert.ok(pid);
      process.kill(pid, "SIGKILL");
      await until(
        `${engine} is back`,
        async () =>
          (await statusNow()).engines.every(({ state }) => state === "ready") &&
          pidNow() !== undefined &&
          pidNow() !== pid,
      );
    }
    await until(
      "the shop answers",
      async () =>
        (await ask(holdfast, { host: HOST, path: "/api/orders/1" }).catch(() => undefined))
          ?.status === 200,
    );
  });

  it("keeps a secret out of the database, logs, process lists and errors", async () => {
    const value = "correct-horse-battery-staple-9d1f";
    const { code } = await holdfast.run(["secret", "set", "storefront", "PAYMENT_KEY"], value);
    assert.equal(code, 0);
    assert.equal(
      (await holdfast.ok("run", "storefront", "--", "printenv PAYMENT_KEY | wc -c")).trim(),
      String(value.length + 1),
    );
    const processes = execFileSync("ps", ["-eo", "args"], { encoding: "utf8" });
    assert.ok(!processes.includes(value));
    const leaks = filesIn(holdfast.home).filter(
      (file) => !file.includes("/build/") && !file.includes("/runtime/") && isIn(file, value),
    );
    assert.deepEqual(leaks, []);
    assert.equal((await holdfast.run(["secret", "set", "storefront", `KEY=${value}`])).code, 2);
  });

  it("runs one-off commands with the app's variables and their exit status", async () => {
    const { code, stdout } = await holdfast.run([
      "run",
      "storefront",
      "--",
      "sh",
      "-c",
      "echo in $HOLDFAST_ENVIRONMENT; exit 7",
    ]);
    assert.equal(code, 7);
    assert.match(stdout, /in production/);
  });

  it("keeps logs across releases, with release and instance on each line", async () => {
    const { stdout } = await holdfast.run(["logs", "storefront/web", "-n", "500", "--json"]);
    const lines = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { release: number; instance: string; time: number });
    assert.ok(new Set(lines.map(({ release }) => release)).size > 3);
    assert.ok(lines.every((line, i) => i === 0 || line.time >= (lines[i - 1]?.time ?? 0)));
    assert.ok(
      (await holdfast.ok("logs", "storefront/release", "-n", "5")).includes("tables are ready"),
    );
  });

  it("shows what users got by service and release", async () => {
    for (let i = 0; i < 20; i += 1) await ask(holdfast, { host: HOST, path: "/api/products" });
    await until("the figures are there", async () =>
      (await shop()).traffic.some(({ service, requests }) => service === "api" && requests >= 20),
    );
  });

  it("brings everything back after all processes are gone", async () => {
    const { release, instances } = await shop();
    await holdfast.ok("down", "--all");
    await assert.rejects(ask(holdfast, { host: HOST }));
    await holdfast.ok("up");
    await until(
      "the shop answers",
      async () =>
        (await ask(holdfast, { host: HOST, path: "/version" }).catch(() => undefined))?.status ===
        200,
    );
    const restarted = await shop();
    assert.equal(restarted.release, release);
    // They were stopped, and ended not by themselves.
    for (const { name, restarts } of restarted.instances)
      assert.equal(restarts, instances.find((one) => one.name === name)?.restarts ?? 0, name);
    assert.equal((await ask(holdfast, { host: HOST, path: "/api/orders/1" })).status, 200);
  });

  it("has an API that answers as its document says", async () => {
    const client = new Client({ socket: join(holdfast.home, "run", "api.sock") }) as unknown as {
      get<Answer>(path: string, query?: object): Promise<Answer>;
      close(): Promise<void>;
    };
    const document = await client.get<OpenApiDocument>("/openapi.json");
    const check = new AnswerCheck(document);
    assert.notDeepEqual(check.mistakes("get", "/v1/status", { environment: 1 }), []);
    const names: Readonly<Record<string, string>> = {
      ...{ environment: "production", app: "storefront", one: "production", other: "production" },
      ...{ trace: "0".repeat(32), label: "job", number: "1", query: "up", metric: "up" },
      ...{ "match[]": "up", start: "0", end: "60", step: "30" },
    };
    const seen: string[] = [];
    const wrong: string[] = [];
    const look = async (
      path: string,
      given: Readonly<Record<string, string>>,
    ): Promise<unknown> => {
      const { parameters, responses } = document.paths[path]?.get ?? {};
      if (!Object.keys(responses?.["200"]?.content ?? {}).includes("application/json")) return;
      const asked = path.replaceAll(/\{(\w+)\}/g, (_all, name: string) =>
        encodeURIComponent(given[name] ?? names[name] ?? "none"),
      );
      const needed = (parameters ?? []).filter(
        (one) =>
          one.in === "query" &&
          (one.required ||
            (path.startsWith("/v1/prometheus/") &&
              one.name !== "environment" &&
              names[one.name] !== undefined)),
      );
      const query = Object.fromEntries(needed.map(({ name }) => [name, names[name] ?? ""]));
      const answer = await client.get<unknown>(asked, query).catch((error: unknown) => {
        // What is not there has no answer of its own.
        if (/not_found|no_|unknown/.test((error as { code?: string }).code ?? "")) return undefined;
        throw error;
      });
      if (answer === undefined) return;
      seen.push(path);
      wrong.push(...check.mistakes("get", path, answer).map((one) => `${asked} ${one}`));
      return answer;
    };
    for (const path of Object.keys(document.paths)) {
      if (path.startsWith("/git/") || path.startsWith("/v1/resources/")) continue;
      if (document.paths[path]?.get) await look(path, {});
    }
    for (const { name: kind } of (await client.get<{ kinds: { name: string }[] }>("/v1/kinds"))
      .kinds) {
      const path = `/v1/resources/${kind}`;
      const all = (await look(path, {})) as { resources: { name: string }[] };
      for (const { name } of all.resources.slice(0, 3)) await look(`${path}/{name}`, { name });
    }
    await client.close();
    assert.deepEqual(wrong.slice(0, 20), []);
    assert.ok(seen.length > 75, `${seen.length} were asked`);
  });

  it("leaves a whole audit chain behind, with who and what", async () => {
    const verdict = await holdfast.json<{ intact: boolean; events: number }>("audit", "--verify");
    assert.ok(verdict.intact && verdict.events > 20);
    assert.match(
      await holdfast.ok("audit", "-n", "100"),
      /owner@socket\s+rollback\s+app production\/storefront/,
    );
  });

  it("keeps the data of a destroyed app, and drops it when asked by name", async () => {
    assert.equal((await holdfast.run(["destroy", "storefront", "--confirm", "other"])).code, 2);
    await holdfast.ok("destroy", "storefront", "--confirm", "storefront");
    assert.equal((await ask(holdfast, { host: HOST })).status, 404);
    assert.match(await holdfast.ok("logs", "storefront"), /storefront|listening|order/i);
    assert.equal((await holdfast.run(["logs", "storefron"])).code, 2);
    await holdfast.ok("deploy", STOREFRONT);
    assert.equal((await ask(holdfast, { host: HOST, path: "/api/orders/1" })).status, 200);
    await holdfast.ok(
      "destroy",
      "storefront",
      "--confirm",
      "storefront",
      "--delete-data",
      "storefront",
    );
    await holdfast.ok("deploy", STOREFRONT);
    assert.equal((await ask(holdfast, { host: HOST, path: "/api/orders/1" })).status, 404);
  });
});

function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((file) => join(folder, file))
    .filter((file) => {
      const stat = statSync(file, { throwIfNoEntry: false });
      return stat?.isFile() && stat.size < 50_000_000;
    });
}
