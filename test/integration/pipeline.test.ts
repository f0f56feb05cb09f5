// From the pipeline: `git push` to Holdfast over HTTPS, webhooks of a repository elsewhere, statuses
// told back, and what was taken back staying away. On a real installation, with real git.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { ChangeView } from "../../src/api/change-routes.ts";
import type { ConnectedView, PushView, RepositoryReport } from "../../src/api/repository-routes.ts";
import type { HoldView } from "../../src/operations/holds.ts";
import { ECHO_SERVER } from "../support/app-folder.ts";
import { ask } from "../support/ask.ts";
import {
  type Delivery,
  deliveryOf,
  GitHost,
  git,
  gitAsync,
  type Provider,
} from "../support/git-host.ts";
import { Installation } from "../support/installation.ts";
import { until } from "../support/wait.ts";

const API_HOST = "api.localhost";
const manifest = (name: string, more = ""): string => `
name: ${name}
services:
  web:
    command: node server.js
    routes: [{ host: ${name}.localhost }]
    health: { path: /, grace: 5s }
${more}
`;

describe("from the pipeline", { timeout: 600_000 }, () => {
  const holdfast = new Installation({ HOLDFAST_API_HOST: API_HOST });
  const host = new GitHost();
  const dir = mkdtempSync(join(tmpdir(), "holdfast-pushed-"));
  let ci = "";

  const tokenOf = async (account: string, role: string): Promise<string> => {
    await holdfast.ok("account", "set", account, "--service", "--role", role);
    return (await holdfast.ok("token", "create", account)).trim();
  };
  const address = (token: string, path: string): string =>
    `https://git:${token}@${API_HOST}:${holdfast.ports.https}/git/${path}.git`;
  const push = (token: string, path: string, ...args: string[]) =>
    gitAsync(dir, ["push", ...args, address(token, path), "HEAD:refs/heads/main"], {
      GIT_SSL_CAINFO: holdfast.caFile,
    });
  const commit = (files: Readonly<Record<string, string>>): string => {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
    git(dir, ["add", "-A"]);
    git(dir, ["commit", "--quiet", "--allow-empty", "-m", "a change"]);
    return git(dir, ["rev-parse", "HEAD"]).output.trim();
  };
  const serving = async (name: string, host = `staging.${name}.localhost`): Promise<string> => {
    const { status, text } = await ask(holdfast, { host });
    return status === 200 ? String((JSON.parse(text) as { release: string }).release) : `${status}`;
  };

  before(async () => {
    await host.start();
    git(dir, ["init", "--quiet", "--initial-branch=main"]);
    await holdfast.ok("up", "--install");
    await holdfast.ok("env", "create", "staging", "--class", "staging");
    ci = await tokenOf("ci", "staging/developer,production/developer");
  });
  after(async () => {
    await holdfast.close();
    await host.close();
    rmSync(dir, { recursive: true, force: true });
  });

  it("shows the API at the edge, with tokens, and to nobody else", async () => {
    assert.equal((await ask(holdfast, { host: API_HOST, path: "/healthz" })).status, 200);
    assert.equal((await ask(holdfast, { host: API_HOST, path: "/v1/status" })).status, 401);
    const headers = { authorization: `Bearer ${ci}`, "x-forwarded-for": "203.0.113.9" };
    const path = "/v1/status?environment=staging";
    assert.equal((await ask(holdfast, { host: API_HOST, path, headers })).status, 200);
    commit({ "server.js": ECHO_SERVER, "holdfast.yaml": manifest("pushed") });
    writeFileSync(
      join(dir, "holdfast.yaml"),
      manifest("taken").replace("taken.localhost", API_HOST),
    );
    const taken = await holdfast.run(["deploy", dir]);
    assert.equal(taken.code, 2);
    assert.match(taken.stderr, /leads to the API \(HOLDFAST_API_HOST\) already/);
    writeFileSync(join(dir, "holdfast.yaml"), manifest("pushed"));
  });

  it("deploys what is pushed, tells how that goes, and says who it was", async () => {
    const pushed = await push(ci, "staging/pushed");
    assert.equal(pushed.code, 0, pushed.output);
    assert.match(pushed.output, /remote: .*release 1 carries all traffic/);
    assert.equal(await serving("pushed"), "1");
    const { events } = await holdfast.json<{
      events: { actor: string; source: string; kind: string }[];
    }>("audit");
    const deployed = events.find(({ kind }) => kind === "release");
    assert.equal(deployed?.actor, "ci");
    assert.match(deployed?.source ?? "", /^127\.0\.0\.1 token \w+/);
    // What was pushed can be had again, by whoever may deploy there.
    const clone = ["clone", "--quiet", address(ci, "staging/pushed"), join(dir, "..", "clone")];
    const target = mkdtempSync(join(tmpdir(), "holdfast-clone-"));
    const cloned = await gitAsync(target, [...clone.slice(0, 3), join(target, "it")], {
      GIT_SSL_CAINFO: holdfast.caFile,
    });
    rmSync(target, { recursive: true, force: true });
    assert.equal(cloned.code, 0, cloned.output);
  });

  it("refuses a push where its release fails, and takes the same commit again", async () => {
    commit({ "server.js": "process.exit(3)" });
    const bad = await push(ci, "staging/pushed");
    assert.notEqual(bad.code, 0);
    assert.match(bad.output, /remote: .*release 2 of pushed failed/);
    assert.match(bad.output, /pre-receive hook declined/);
    assert.equal(await serving("pushed"), "1");
    const again = await push(ci, "staging/pushed");
    assert.notEqual(again.code, 0, "the same commit is tried again, not taken for known");
    assert.match(again.output, /release 3 of pushed failed/);
    commit({ "server.js": ECHO_SERVER });
    assert.equal((await push(ci, "staging/pushed")).code, 0);
    assert.equal(await serving("pushed"), "4");
  });

  it("refuses a push that it can't know, that may not be, or that is mistaken", async () => {
    const refused = async (
      result: Promise<{ code: number; output: string }>,
      message: RegExp,
    ): Promise<void> => {
      const { code, output } = await result;
      assert.notEqual(code, 0, output);
      assert.match(output, message);
    };
    commit({});
    await refused(push("hf_nobody", "staging/pushed"), /Authentication failed/);
    const viewer = await tokenOf("viewer", "staging/viewer");
    await refused(push(viewer, "staging/pushed"), /403/);
    await refused(push(ci, "nowhere/pushed"), /not found|400|404/i);
    await refused(push(ci, "staging/other"), /expected app other, but holdfast.yaml names pushed/);
    await refused(push(ci, "staging/pushed", "-o", "force"), /-o force is not known/);
    const gone = gitAsync(dir, ["push", address(ci, "staging/pushed"), ":refs/heads/main"], {
      GIT_SSL_CAINFO: holdfast.caFile,
    });
    await refused(gone, /declined|refus|can't be removed/i);
    const side = await gitAsync(
      dir,
      ["push", address(ci, "staging/pushed"), "HEAD:refs/heads/idea"],
      {
        GIT_SSL_CAINFO: holdfast.caFile,
      },
    );
    assert.equal(side.code, 0, side.output);
    assert.match(side.output, /stored, and not deployed/);
    assert.equal(await serving("pushed"), "4");
  });

  it("ends a push whose control plane was killed, and goes on with its release", async () => {
    const slow = "const until = Date.now() + 4000; while (Date.now() < until);";
    commit({ "server.js": `${slow}\n${ECHO_SERVER}` });
    const pushing = push(ci, "staging/pushed");
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    process.kill(holdfast.controlPlanePid, "SIGKILL");
    const broken = await pushing;
    assert.notEqual(broken.code, 0, broken.output);
    await until("its release serves", async () => (await serving("pushed")) === "5");
    const again = await push(ci, "staging/pushed");
    assert.equal(again.code, 0, again.output);
  });

  it("asks for production, where a token may only ask", async () => {
    commit({ "holdfast.yaml": manifest("asked") });
    const asked = await push(ci, "production/asked", "-o", "reason=the first one");
    assert.equal(asked.code, 0, asked.output);
    assert.match(asked.output, /change \d+ is asked for/);
    await assert.rejects(serving("asked", "asked.localhost"), /altnames/, "it has no host yet");
    const { changes } = await holdfast.json<{ changes: ChangeView[] }>("changes");
    assert.equal(changes[0]?.reason, "the first one");
    await holdfast.ok("approve", String(changes[0]?.number));
    await until(
      "it is deployed",
      async () => (await serving("asked", "asked.localhost").catch(() => "")) === "1",
    );
  });

  const deliver = async (name: string, { headers, body }: Delivery) => {
    const path = `/v1/webhooks/${name}`;
    const { status, text } = await ask(holdfast, {
      host: API_HOST,
      path,
      method: "POST",
      headers,
      body,
    });
    return { status, answer: JSON.parse(text) as Record<string, unknown> };
  };
  const connect = async (
    provider: Provider,
    name: string,
    ...more: string[]
  ): Promise<ConnectedView> => {
    const args = ["repository", "connect", name, host.url, "--provider", provider];
    const api = ["--api", `${host.origin}/api`, "--env", "staging", "--token", ...more, "--json"];
    const { code, stdout } = await holdfast.run([...args, ...api], host.token);
    assert.equal(code, 0, stdout);
    return JSON.parse(stdout) as ConnectedView;
  };
  const pushes = async (name: string): Promise<readonly PushView[]> =>
    (await holdfast.json<RepositoryReport>("repository", "show", name)).pushes;
  const ended = async (name: string, number: number): Promise<PushView> => {
    let found: PushView | undefined;
    await until(`push ${number} of ${name} ends`, async () => {
      found = (await pushes(name)).find((one) => one.number === number);
      return found !== undefined && !["fetching", "waiting", "deploying"].includes(found.phase);
    });
    return found as PushView;
  };
  const toldOf = (path: RegExp): string[] =>
    host.told
      .filter((one) => path.test(one.path))
      .map(({ body }) => String(body["state"] ?? body["status"]));

  for (const [provider, statuses, deployments, words] of [
    [
      "github",
      /\/repos\/acme\/shop\/statuses\//,
      /\/repos\/acme\/shop\/deployments\/7\/statuses/,
      ["pending", "success"],
    ],
    [
      "gitlab",
      /\/projects\/acme%2Fshop\/statuses\//,
      /\/projects\/acme%2Fshop\/deployments/,
      ["running", "success"],
    ],
    ["gitea", /\/repos\/acme\/shop\/statuses\//, undefined, ["pending", "success"]],
  ] as const) {
    it(`deploys a push that ${provider} tells of, and tells it what became of it`, async () => {
      host.told.length = 0;
      const name = `by-${provider}`;
      const files = { "server.js": ECHO_SERVER, "holdfast.yaml": manifest(name) };
      const id = host.commit(files, `for ${provider}`);
      const { secret, webhook, head } = await connect(provider, name);
      assert.equal(head, id);
      assert.match(webhook, new RegExp(`^https://${API_HOST}:\\d+/v1/webhooks/${name}$`));
      const taken = await deliver(
        name,
        deliveryOf(provider, secret, { commit: id, message: "first" }),
      );
      assert.deepEqual([taken.status, taken.answer], [202, { push: 1 }]);
      const { phase, text, pusher } = await ended(name, 1);
      assert.deepEqual([phase, pusher], ["succeeded", "ana"], text);
      assert.equal(await serving(name), "1");
      await until("it was told", () => toldOf(statuses).at(-1) === words[1]);
      assert.deepEqual([...new Set(toldOf(statuses))], words);
      assert.ok(host.told.every(({ path }) => path.includes(id) || path.includes("deployments")));
      if (deployments)
        await until("its deployment too", () => toldOf(deployments).at(-1) === words[1]);
    });
  }

  it("takes a delivery of GitLab that is signed as Standard Webhooks has it, and only while it is new", async () => {
    const { secret } = await connect("gitlab", "by-gitlab");
    const { body, headers } = deliveryOf("gitlab", "", { commit: "a".repeat(40) });
    const signed = (sentAt: number): Delivery => {
      const id = `msg_${sentAt}`;
      const key = Buffer.from(secret.replace("whsec_", ""), "base64");
      const text = `${id}.${sentAt}.${body}`;
      const { "x-gitlab-token": _, ...others } = headers;
      const signature = `v1,${createHmac("sha256", key).update(text).digest("base64")}`;
      const own = {
        "webhook-id": id,
        "webhook-timestamp": String(sentAt),
        "webhook-signature": signature,
      };
      return { body, headers: { ...others, ...own } };
    };
    const now = Math.floor(Date.now() / 1_000);
    assert.equal((await deliver("by-gitlab", signed(now - 3_600))).status, 401);
    assert.equal((await deliver("by-gitlab", signed(now))).status, 202);
    // A commit that the branch does not point at is nothing to deploy.
    assert.match((await ended("by-gitlab", 2)).text, /^main is at [0-9a-f]{12} by now$/);
  });

  it("refuses what is not signed, is signed wrongly, or comes again; and lets be what is no push", async () => {
    const name = "by-github";
    const { secret } = await connect("github", name);
    const id = git(host.work, ["rev-parse", "HEAD"]).output.trim();
    const good = deliveryOf("github", secret, { commit: id });
    const before = (await pushes(name)).length;
    for (const headers of [
      { ...good.headers, "x-hub-signature-256": "sha256=00" },
      { ...good.headers, "x-hub-signature-256": "" },
      { "content-type": "application/json", "x-github-event": "push" },
    ])
      assert.equal((await deliver(name, { ...good, headers })).status, 401);
    const changed = { ...good, body: good.body.replace("a change", "another one") };
    assert.equal((await deliver(name, changed)).status, 401);
    assert.equal(
      (await deliver(name, deliveryOf("github", "whsec_other", { commit: id }))).status,
      401,
    );
    const nowhere = await deliver("nobody", good);
    assert.equal(nowhere.status, 404);
    const elsewhere = deliveryOf("github", secret, { commit: id, ref: "refs/heads/idea" });
    assert.match(String((await deliver(name, elsewhere)).answer["ignored"]), /main is/);
    const removed = deliveryOf("github", secret, { commit: "0".repeat(40) });
    assert.match(String((await deliver(name, removed)).answer["ignored"]), /was removed/);
    const ping = { ...good, headers: { ...good.headers, "x-github-event": "ping" } };
    assert.match(String((await deliver(name, ping)).answer["ignored"]), /ping is no push/);
    const garbage = "{";
    const signature = `sha256=${createHmac("sha256", secret).update(garbage).digest("hex")}`;
    const unreadable = {
      body: garbage,
      headers: { ...good.headers, "x-hub-signature-256": signature },
    };
    assert.equal((await deliver(name, unreadable)).status, 400);
    assert.equal((await pushes(name)).length, before, "none of these was taken");

    assert.equal((await deliver(name, good)).status, 202);
    const replayed = await deliver(name, good);
    assert.equal(replayed.status, 409);
    // GitHub does not sign the id of a delivery: whoever changes it has the same body still.
    const disguised = { ...good, headers: { ...good.headers, "x-github-delivery": "another" } };
    assert.equal((await deliver(name, disguised)).status, 409);
    assert.equal((await pushes(name)).length, before + 1);
    await ended(name, before + 1);
    const { refused } = await holdfast.json<RepositoryReport>("repository", "show", name);
    assert.ok((refused?.count ?? 0) >= 8, JSON.stringify(refused));
  });

  it("deploys also while the provider can't be told, and tells it later", async () => {
    const name = "by-gitea";
    const { secret } = await connect("gitea", name);
    host.told.length = 0;
    host.failWith = 503;
    const id = host.commit({ "holdfast.yaml": manifest(name), "notes.txt": "1" }, "told late");
    await deliver(name, deliveryOf("gitea", secret, { commit: id }));
    const one = await ended(name, 2);
    assert.equal(one.phase, "succeeded", one.text);
    await until("it was tried", async () => (await pushes(name))[0]?.problem !== undefined);
    assert.match((await pushes(name))[0]?.problem ?? "", /503 not now/);
    host.failWith = undefined;
    await until("it was told", () => toldOf(/statuses/).at(-1) === "success");
    assert.equal((await pushes(name))[0]?.problem, undefined);
  });

  it("holds what was taken back, until a person lets it go", async () => {
    const name = "by-github";
    const { secret } = await connect("github", name);
    const bad = host.commit({ "holdfast.yaml": manifest(name), "notes.txt": "bad" }, "bad");
    const deliverNow = async (): Promise<PushView> => {
      const { answer } = await deliver(name, deliveryOf("github", secret, { commit: bad }));
      return ended(name, Number(answer["push"]));
    };
    assert.equal((await deliverNow()).phase, "succeeded");
    await holdfast.ok("rollback", name, "--env", "staging");
    const held = await deliverNow();
    assert.equal(held.phase, "held", held.text);
    assert.match(held.text, /was taken back|taken back to release/);
    // A pipeline that tries again is no better.
    git(host.work, ["checkout", "--quiet", bad]);
    const again = await holdfast.runAs(ci, ["deploy", host.work, "--env", "staging", "--adopt"]);
    assert.equal(again.code, 2);
    assert.match(again.stderr, /is held in staging/);
    const byItself = await holdfast.runAs(ci, ["hold", "release", name, "--env", "staging"]);
    assert.equal(byItself.code, 2);
    const { holds } = await holdfast.json<{ holds: HoldView[] }>(
      "hold",
      "list",
      "--env",
      "staging",
    );
    assert.deepEqual([holds.length, holds[0]?.commit, holds[0]?.app], [1, bad, name]);
    await holdfast.ok("hold", "release", name, bad.slice(0, 8), "--env", "staging");
    assert.equal((await deliverNow()).phase, "succeeded");
    assert.match(
      await holdfast.ok("hold", "list", "--env", "staging"),
      /nothing is held in staging/,
    );
  });

  it("says what is wrong with a repository when it is connected", async () => {
    const refused = async (args: string[], message: RegExp, input = host.token): Promise<void> => {
      const all = ["repository", "connect", "wrong", ...args, "--env", "staging"];
      const { code, stderr, stdout } = await holdfast.run(all, input);
      assert.ok(code === 2 || code === 75, stdout + stderr);
      assert.match(stderr, message);
    };
    await refused([host.url], /does not say whose it is/);
    const known = [host.url, "--provider", "gitea"];
    await refused(known, /does not let us in/);
    await refused([...known, "--token"], /does not let us in/, "another");
    await refused([...known, "--token", "--branch", "never"], /has no branch never/);
    await refused([...known, "--token", "--branch", "a..b"], /must be the name of a branch/);
    await refused([...known, "--token", "--folder", "../x"], /must be a path inside/);
    await refused(
      [host.url.replace("shop", "none"), "--provider", "gitea", "--token"],
      /no repository/,
    );
    await refused(["https://user:pass@example.com/a/b.git"], /a credential does not belong/);
    await refused(["http://example.com/a/b.git"], /must be https/);
    await refused(["http://127.0.0.1:1/a/b.git", "--provider", "gitea"], /can't be reached/);
    const viewer = await tokenOf("viewer", "staging/viewer");
    const asViewer = await holdfast.runAs(viewer, [
      "repository",
      "connect",
      "x",
      ...known,
      "--env",
      "staging",
    ]);
    assert.equal(asViewer.code, 2);
    assert.match(asViewer.stderr, /viewer may not deploy in staging/);
    await holdfast.ok("repository", "remove", "by-gitlab");
    assert.equal(
      (await deliver("by-gitlab", deliveryOf("gitlab", "x", { commit: "a".repeat(40) }))).status,
      404,
    );
    assert.equal(await serving("by-gitlab"), "1");
  });

  it("keeps a token to where it was given for, and a new beginning apart from an old one", async () => {
    const name = "by-gitea";
    const { secret } = await connect("gitea", name);
    const other = [
      "repository",
      "connect",
      name,
      host.url,
      "--provider",
      "gitea",
      "--env",
      "staging",
    ];
    const moved = await holdfast.run([...other, "--api", "http://127.0.0.1:1/api"]);
    assert.equal(moved.code, 2, "without its token the repository is not to be read");
    assert.match(moved.stderr, /does not let us in/);
    const asDeveloper = await holdfast.runAs(ci, other);
    assert.match(asDeveloper.stderr, /is this machine itself/);
    await holdfast.ok("repository", "remove", name);
    const again = await connect("gitea", name);
    assert.notEqual(again.secret, secret);
    const id = host.commit({ "holdfast.yaml": manifest(name), "notes.txt": "anew" }, "anew");
    const { answer } = await deliver(name, deliveryOf("gitea", again.secret, { commit: id }));
    assert.equal(answer["push"], 1);
    const { phase, release } = await ended(name, 1);
    assert.equal(phase, "succeeded");
    assert.equal(
      await serving(name),
      String(release),
      "it was deployed, not taken for an older one",
    );
    const empty = await ask(holdfast, {
      host: API_HOST,
      path: `/v1/webhooks/${name}`,
      method: "POST",
    });
    assert.equal(empty.status, 401);
  });

  it("lets no environment have a path of another one's host", async () => {
    const wanted = (route: string): string =>
      `name: taker\nservices:\n  web:\n    command: node server.js\n    routes: [{ host: taker.localhost, path: ${route} }]\nenvironments:\n  staging: { hosts: { taker.localhost: asked.localhost } }\n`;
    for (const [route, message] of [
      ["/login", /asked.localhost belongs to another environment/],
      ["//", /has an empty part/],
    ] as const) {
      writeFileSync(join(dir, "holdfast.yaml"), wanted(route));
      const { code, stderr } = await holdfast.run(["deploy", dir, "--env", "staging"]);
      assert.equal(code, 2, stderr);
      assert.match(stderr, message);
    }
  });
});
