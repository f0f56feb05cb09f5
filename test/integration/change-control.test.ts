// Who may change what, and how: accounts, promotions, change records, freezes and emergencies, from
// the command line, with tokens, on a real installation.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { ChangeView } from "../../src/api/change-routes.ts";
import type { EnvironmentDiff } from "../../src/operations/promotion.ts";
import { AppFolder, ECHO_SERVER } from "../support/app-folder.ts";
import { ask } from "../support/ask.ts";
import { done, type Run, refused } from "../support/command-outcome.ts";
import { Installation } from "../support/installation.ts";
import { until } from "../support/wait.ts";

const MANIFEST = `
name: echo
services:
  web:
    command: node server.js
    routes: [{ host: echo.localhost }]
config: { SETTING: everywhere }
environments:
  staging: { config: { SETTING: there } }
`;

interface Releases {
  readonly releases: readonly { number: number; artifact: string; state: string }[];
}

/** What loosens control, by the only one who may at that moment. */
const GLASS = ["--emergency", "--reason", "the test goes on"] as const;

describe("change control", { timeout: 600_000 }, () => {
  const holdfast = new Installation();
  const app = new AppFolder({ "server.js": ECHO_SERVER, "holdfast.yaml": MANIFEST }, "echo");
  const owner: Run = (...args) => holdfast.run(args);
  let dev: Run;
  let ana: Run;
  let ben: Run;
  let version = 0;
  const touch = (): void => {
    version += 1;
    app.write({ "notes.txt": `${version}` });
  };
  const as = async (account: string, ...more: string[]): Promise<Run> => {
    const token = await holdfast.tokenOf(account, ...more);
    return (...args) => holdfast.runAs(token, args);
  };
  const changes = async (...args: string[]): Promise<ChangeView[]> =>
    (await holdfast.json<{ changes: ChangeView[] }>("changes", ...args)).changes;
  const last = async (): Promise<ChangeView> => {
    const [newest] = await changes();
    assert.ok(newest);
    return newest;
  };
  const setting = async (host: string): Promise<string> =>
    (JSON.parse((await ask(holdfast, { host })).text) as { setting: string }).setting;
  const artifact = async (environment: string): Promise<string | undefined> =>
    (await holdfast.json<Releases>("releases", "echo", "--env", environment)).releases.find(
      ({ state }) => state === "serving",
    )?.artifact;

  before(async () => {
    await holdfast.ok("up", "--install");
    await holdfast.ok("env", "create", "staging");
    await holdfast.ok("deploy", app.dir, "--env", "staging");
  });
  after(async () => {
    await holdfast.close();
    app.remove();
  });

  it("records what the only one there is does, without holding it up", async () => {
    await done(owner("promote", "echo", "--from", "staging", "--to", "production"));
    const { phase, waived, summary, risk } = await last();
    assert.equal(phase, "succeeded");
    assert.equal(waived, "nobody else could approve it");
    assert.match(summary, /promote echo from staging release 1/);
    assert.ok(risk.parts.some(({ why }) => why === "the app is new here"));
  });

  it("runs the same artifact with what the other environment makes of it, and tells them apart", async () => {
    assert.ok(await artifact("staging"));
    assert.equal(await artifact("production"), await artifact("staging"));
    assert.equal(await setting("staging.echo.localhost"), "there");
    assert.equal(await setting("echo.localhost"), "everywhere");
    const { apps, environment } = await holdfast.json<EnvironmentDiff>(
      "diff",
      "staging",
      "production",
    );
    assert.deepEqual(
      apps["echo"]?.map(({ what }) => what),
      ["setting SETTING", "routes"],
    );
    assert.ok(environment.some(({ what }) => what === "rule protected"));
  });

  it("promotes only what ran well there", async () => {
    await refused(
      owner("promote", "echo", "--from", "production", "--to", "nowhere"),
      /there is no environment nowhere/,
    );
    await refused(
      owner("promote", "other", "--from", "staging", "--to", "production"),
      /other never ran in staging/,
    );
    await refused(
      owner("promote", "echo", "--from", "staging", "--to", "production", "--release", "9"),
      /release 9 of echo never served in staging/,
    );
    app.write({ "server.js": "process.exit(7);" });
    assert.equal((await owner("deploy", app.dir, "--env", "staging")).code, 3);
    await refused(
      owner("promote", "echo", "--from", "staging", "--to", "production", "--release", "2"),
      /release 2 of echo failed in staging/,
    );
    app.write({ "server.js": ECHO_SERVER });
  });

  it("gives accounts what their roles say, and no more", async () => {
    for (const [name, roles] of [
      ["dev", "staging/developer,production/developer"],
      ["ana", "production/approver"],
      ["ben", "production/operator,production/approver"],
    ] as const)
      await holdfast.ok("account", "set", name, "--role", roles);
    [dev, ana, ben] = (await Promise.all([as("dev"), as("ana"), as("ben")])) as [Run, Run, Run];
    await done(dev("restart", "echo", "--env", "staging"));
    await refused(
      dev("run", "echo", "--", "id"),
      /dev may not run in production: no rule permits it/,
    );
    await refused(ana("deploy", app.dir, "--env", "staging"), /ana may not deploy in staging/);
    await refused(ana("restart", "echo"), /ana may not restart in production[\s\S]*ben could/);
    await refused(dev("account", "list"), /dev may not view here/);
    await refused(ben("policy", "set", join(app.dir, "holdfast.yaml")), /ben may not policy/);
    const { environments } = JSON.parse(await done(ana("env", "list", "--json"))) as {
      environments: { name: string }[];
    };
    assert.deepEqual(
      environments.map(({ name }) => name),
      ["production"],
    );
  });

  it("gives a token a part of its account's roles, and an end", async () => {
    const pipeline = await as("dev", "--scope", "staging/developer", "--label", "pipeline");
    await done(pipeline("restart", "echo", "--env", "staging"));
    await refused(pipeline("restart", "echo"), /dev may not restart in production/);
    await refused(
      owner("token", "create", "dev", "--scope", "production/admin"),
      /dev has no production\/admin to give/,
    );
    await refused(
      owner("token", "create", "dev", "--expires", "2y"),
      /must be a duration from 1m to 366d/,
    );
    const { tokens } = await holdfast.json<{ tokens: { id: string; label: string }[] }>(
      "token",
      "list",
    );
    const { id = "" } = tokens.find(({ label }) => label === "pipeline") ?? {};
    await holdfast.ok("token", "revoke", id);
    await refused(pipeline("whoami"), /the token is not known/);
    const { events } = await holdfast.json<{ events: { action: string; source: string }[] }>(
      "audit",
    );
    assert.ok(events.some((one) => one.action === "unknown-token" && one.source === "127.0.0.1"));
    await holdfast.ok("account", "set", "dev", "--disable");
    await refused(dev("whoami"), /the account dev is disabled/);
    await holdfast.ok("account", "set", "dev", "--enable");
  });

  it("asks for what one may not do alone; another approves, and it runs", async () => {
    touch();
    const deployed = dev("deploy", app.dir, "--reason", "a better page");
    await until("it is asked for", async () => (await changes("--open")).length === 1);
    const { number, diff, plan, success, rollback, reason, approvers } = await last();
    assert.equal(reason, "a better page");
    assert.deepEqual(approvers, ["ana", "ben"]);
    assert.ok(diff.some(({ what }) => what === "source"));
    assert.ok(plan.length > 0 && success.length > 0);
    assert.match(rollback, /holdfast rollback echo --to 1/);
    await refused(dev("approve", String(number)), /dev may not approve in production/);
    await done(ana("approve", String(number)));
    await done(deployed);
    assert.equal((await last()).phase, "succeeded");
    await refused(ana("approve", String(number)), /is succeeded already/);
    await refused(owner("approve", "999"), /there is no change 999/);
  });

  it("lets nobody approve their own, or twice", async () => {
    await holdfast.ok("policy", "show");
    writeFileSync(join(app.dir, "two.yaml"), "rules: { approvals: 2, standardChanges: [] }\n");
    await holdfast.ok("policy", "set", join(app.dir, "two.yaml"));
    const restarted = ben("restart", "echo");
    await until("it is asked for", async () => (await changes("--open")).length === 1);
    const { number } = await last();
    await refused(ben("approve", String(number)), /ben asked for change \d+, and can't approve it/);
    await done(ana("approve", String(number)));
    await refused(ana("approve", String(number)), /ana approved change \d+ already/);
    assert.equal((await last()).phase, "asked");
    await done(owner("approve", String(number)));
    await done(restarted);
  });

  it("takes approvals for void once it would do something else", async () => {
    const asked = dev("config", "set", "echo", "SETTING=changed", "--no-wait");
    await done(asked);
    const { number } = await last();
    await done(ana("approve", String(number)));
    // Somebody else's setting becomes a part of what this change would roll out.
    await done(owner("config", "set", "echo", "OTHER=1", "--emergency", "--reason", "to see"));
    await refused(owner("approve", String(number)), /has changed since it was asked for/);
    const now = await holdfast.json<ChangeView>("change", "show", String(number));
    assert.deepEqual(now.approvals, []);
    assert.match(now.text, /earlier approvals are void/);
    await refused(owner("reject", String(number)), /reason/);
    await done(ana("reject", String(number), "--reason", "not now"));
    assert.equal(await setting("echo.localhost"), "everywhere");
    assert.equal((await last()).emergency?.reason, "to see");
  });

  it("wants an emergency reviewed by somebody else", async () => {
    const { number } = (await changes("--review"))[0] ?? { number: 0 };
    await refused(
      owner("config", "set", "echo", "OTHER=2", "--emergency"),
      /an emergency needs a reason/,
    );
    await refused(dev("restart", "echo", "--emergency", "--reason", "x"), /dev may not emergency/);
    await refused(owner("change", "review", String(number), "--text", "fine"), /cannot review it/);
    await done(ana("change", "review", String(number), "--text", "right call"));
    assert.deepEqual(await changes("--review"), []);
    await holdfast.ok("policy", "set", "/dev/null", ...GLASS);
  });

  it("runs nothing in a freeze, but emergencies; what was approved waits for its end", async () => {
    await refused(
      owner("freeze", "set", "moon", "--cron", "0 0 30 2 *", "--for", "1h", "--reason", "x"),
      /never comes|no next time/,
    );
    await refused(
      owner("freeze", "set", "moon", "--until", "2020-01-01", "--reason", "x"),
      /is over already|ends before/,
    );
    await refused(
      owner("freeze", "set", "moon", "--until", "soon", "--reason", "x"),
      /is not a time/,
    );
    await refused(owner("freeze", "set", "moon", "--until", "2099-01-01"), /needs a reason/);
    await holdfast.ok("freeze", "set", "sale", "--app", "ec*", "--reason", "the big sale");
    await refused(
      ben("restart", "echo"),
      /lets nothing through in the next 90 days \(the big sale\)/,
    );
    await done(ben("restart", "echo", "--emergency", "--reason", "it hangs"));
    await holdfast.ok("freeze", "remove", "sale", ...GLASS);
    const until = new Date(Date.now() + 8_000).toISOString();
    await holdfast.ok("freeze", "set", "short", "--until", until, "--reason", "a moment");
    const began = Date.now();
    const restarted = ben("restart", "echo");
    const { stderr } = await restarted;
    assert.match(stderr, /waits until|scheduled/);
    assert.equal((await last()).phase, "succeeded");
    assert.ok(Date.now() - began > 4_000);
    await holdfast.ok("freeze", "remove", "short", ...GLASS);
  });

  it("holds to policies of one's own, and says which", async () => {
    const file = join(app.dir, "own.yaml");
    writeFileSync(
      file,
      `cedar: |
  @id("nobody restarts echo")
  forbid(principal, action == Action::"restart", resource == App::"production/echo");
`,
    );
    await holdfast.ok("policy", "set", file, "--dry-run");
    await done(ben("restart", "echo"));
    await holdfast.ok("policy", "set", file);
    await refused(ben("restart", "echo"), /the policy nobody restarts echo forbids it/);
    const { code, stdout } = await owner("policy", "test", "ben", "restart", "--app", "echo");
    assert.equal(code, 3);
    assert.match(stdout, /refused: nobody restarts echo/);
    writeFileSync(file, "cedar: 'forbid(principal;'");
    await refused(owner("policy", "set", file), /cedar: line 1, column/);
    writeFileSync(file, "rules: { aprovals: 2 }");
    await refused(owner("policy", "set", file), /aprovals/);
    await holdfast.ok("policy", "set", "/dev/null", ...GLASS);
  });

  it("goes on with what was approved after kill -9, once", async () => {
    const asked = await dev("config", "set", "echo", "SETTING=after", "--no-wait", "--json");
    const { change } = JSON.parse(asked.stdout) as { change: number };
    await done(ana("approve", String(change)));
    process.kill(holdfast.controlPlanePid, "SIGKILL");
    await holdfast.ok("up");
    await until(
      "it has run",
      async () =>
        (await holdfast.json<ChangeView>("change", "show", String(change))).phase === "succeeded",
    );
    assert.equal(await setting("echo.localhost"), "after");
    const { releases } = await holdfast.json<Releases>("releases", "echo");
    const before = releases.length;
    process.kill(holdfast.controlPlanePid, "SIGKILL");
    await holdfast.ok("up");
    const again = await holdfast.json<Releases>("releases", "echo");
    assert.equal(again.releases.length, before);
  });

  it("leaves a whole audit chain behind, with every decision", async () => {
    const { events } = await holdfast.json<{ events: { actor: string; action: string }[] }>(
      "audit",
      "-n",
      "500",
    );
    for (const action of [
      "ask",
      "approve",
      "reject",
      "emergency",
      "review",
      "freeze",
      "policy",
      "account",
      "token",
      "token-revoke",
      "content-changed",
    ])
      assert.ok(
        events.some((one) => one.action === action),
        action,
      );
    assert.match(await holdfast.ok("audit", "--verify"), /intact/);
  });
});
