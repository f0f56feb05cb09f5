// One person who may do almost everything, and does not mean well: no way to be two.

import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { ChangeView } from "../../src/api/change-routes.ts";
import { AppFolder, ECHO_SERVER } from "../support/app-folder.ts";
import { done, type Run, refused } from "../support/command-outcome.ts";
import { Installation } from "../support/installation.ts";
import { until } from "../support/wait.ts";

const MANIFEST = `
name: echo
services: { web: { command: node server.js, routes: [{ host: echo.localhost }] } }
`;

describe("four eyes", { timeout: 600_000 }, () => {
  const holdfast = new Installation();
  const app = new AppFolder({ "server.js": ECHO_SERVER, "holdfast.yaml": MANIFEST }, "echo");
  const file = join(app.dir, "..", "loose.yaml");
  let eve: Run;
  let eveToken = "";
  let ana: Run;
  let ben: Run;
  let mia: Run;

  const as = (token: string): Run => {
    return (...args) => holdfast.runAs(token, args);
  };
  const api = async (method: string, path: string, body: unknown, token = eveToken) => {
    const answer = await fetch(`http://127.0.0.1:${holdfast.ports.api}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body !== undefined && { "content-type": "application/json" }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    return { status: answer.status, text: await answer.text() };
  };
  const rules = async (): Promise<Record<string, unknown>> =>
    (await holdfast.json<{ rules: Record<string, unknown> }>("env", "show", "production")).rules;
  const last = async (): Promise<ChangeView> => {
    const [newest] = (await holdfast.json<{ changes: ChangeView[] }>("changes")).changes;
    assert.ok(newest);
    return newest;
  };

  before(async () => {
    await holdfast.ok("up", "--install");
    await holdfast.ok("env", "create", "staging");
    for (const [account, roles] of [
      ["eve", "*/admin"],
      ["ana", "*/approver"],
      ["mia", "*/approver"],
      ["ben", "production/operator,staging/developer"],
    ] as const)
      await holdfast.ok("account", "set", account, "--role", roles);
    eveToken = await holdfast.tokenOf("eve");
    eve = as(eveToken);
    ana = as(await holdfast.tokenOf("ana"));
    ben = as(await holdfast.tokenOf("ben"));
    mia = as(await holdfast.tokenOf("mia"));
    await holdfast.ok("deploy", app.dir, "--emergency", "--reason", "the first one");
  });
  after(async () => {
    await holdfast.close();
    app.remove();
    rmSync(file, { force: true });
  });

  it("are not those of an account that was made for it", async () => {
    const made = await done(eve("account", "set", "puppet", "--role", "production/approver"));
    assert.match(made, /not written yet: it is change \d+, and needs 1 approval by ana, mia/);
    // Without the role it is of no use, and with it only once somebody else has said so.
    const puppet = as(await holdfast.tokenOf("puppet").catch(() => "none"));
    await refused(puppet("whoami"), /the token is not known|a bearer token/);
    const { number } = await last();
    await refused(eve("approve", String(number)), /eve asked for change/);
    await done(ana("approve", String(number)));
    await holdfast.ok("status");
    const asked = await done(eve("config", "set", "echo", "A=1", "--no-wait", "--json"));
    const { change } = JSON.parse(asked) as { change: number };
    const token = (await done(eve("token", "create", "puppet"))).trim();
    await refused(as(token)("approve", String(change)), /made by eve, and decides nothing/);
    const accepted = as((await done(as(token)("token", "accept"))).trim());
    await refused(as(token)("whoami"), /the token is not known/);
    await refused(
      accepted("approve", String(change)),
      /puppet and eve, who asked for change \d+, are tied/,
    );
    await done(ana("approve", String(change)));
  });

  it("are not those of somebody in whose name a token was made, and the audit says who made it", async () => {
    const asked = await done(eve("config", "set", "echo", "B=1", "--no-wait", "--json"));
    const { change } = JSON.parse(asked) as { change: number };
    const { id, token } = JSON.parse(await done(eve("token", "create", "ana", "--json"))) as {
      id: string;
      token: string;
    };
    await refused(as(token)("approve", String(change)), /made by eve, and decides nothing/);
    // Another one made with it is no better, and neither is one that eve took over: ana is tied to her now.
    const again = (await done(as(token)("token", "create"))).trim();
    await refused(as(again)("approve", String(change)), /made by eve, and decides nothing/);
    const taken = (await done(as(token)("token", "accept"))).trim();
    await refused(
      as(taken)("approve", String(change)),
      /ana and eve, who asked for change \d+, are tied/,
    );
    const { events } = await holdfast.json<{ events: { actor: string; source: string }[] }>(
      "audit",
    );
    assert.ok(
      events.some(({ actor, source }) => actor === "ana" && source.includes(`token ${id}`)),
    );
    await done(eve("change", "withdraw", String(change)));
  });

  it("are asked for where rules, classes and freezes are loosened", async () => {
    const before = await rules();
    for (const text of [
      "rules: { approvals: 0 }",
      "rules: { protected: false }",
      "rules: { standardChanges: [deploy, rollback, restart] }",
      "rules: { approverTieHours: 0 }",
      `cedar: 'permit(principal, action, resource);'`,
    ]) {
      writeFileSync(file, `${text}\n`);
      const said = await done(eve("policy", "set", file));
      assert.match(said, /not written yet: it is change \d+/, text);
      const { number } = await last();
      await refused(eve("approve", String(number)), /eve asked for change/);
    }
    assert.deepEqual(await rules(), before);
    const changed = await api("PUT", "/v1/environments/production", { class: "development" });
    assert.match(changed.text, /"pending":"needs 1 approval/);
    assert.deepEqual(await rules(), before);
    await holdfast.ok("freeze", "set", "sale", "--reason", "the big sale");
    let asked = 0;
    for (const [method, body] of [
      ["DELETE", undefined],
      ["PUT", { kind: "freeze", reason: "never", from: Date.now() + 9e9 }],
    ] as const) {
      const { text } = await api(method, "/v1/windows/production/sale", body);
      assert.match(text, /"pending":"needs 1 approval/, `${method} ${text}`);
      asked = (JSON.parse(text) as { change: number }).change;
    }
    await refused(ben("restart", "echo"), /the big sale/);
    // What served before comes back at once, whatever is frozen.
    await done(ben("rollback", "echo"));
    await done(mia("approve", String(asked)));
    await until("it is in force", async () => (await ben("restart", "echo")).code === 0);
    await holdfast.ok("freeze", "remove", "sale", "--emergency", "--reason", "the test goes on");
  });

  it("are not done without where those who could approve are disabled", async () => {
    for (const one of ["ana", "mia"]) await done(eve("account", "set", one, "--disable"));
    await done(eve("account", "remove", "puppet"));
    const asked = await done(eve("config", "set", "echo", "C=1", "--no-wait", "--json"));
    const { change, pending } = JSON.parse(asked) as { change: number; pending?: string };
    assert.match(pending ?? "", /needs 1 approval by somebody with the role approver/);
    const view = await holdfast.json<ChangeView>("change", "show", String(change));
    assert.equal(view.waived, undefined);
    writeFileSync(file, "rules: { approvals: 0 }\n");
    await refused(eve("policy", "set", file), /loosens control .*nobody else could approve it/);
    await refused(eve("policy", "set", file, "--emergency"), /an emergency needs a reason/);
    await refused(eve("account", "set", "mia", "--enable"), /mia becomes production\/approver/);
    for (const one of ["ana", "mia"]) await holdfast.ok("account", "set", one, "--enable");
    await done(eve("change", "withdraw", String(change)));
  });

  it("are not those of who made the token that it was asked with, nor of who made the asker", async () => {
    await holdfast.ok("account", "set", "ci", "--service", "--role", "production/operator");
    for (const account of ["ci", "ben"]) {
      const token = (await done(eve("token", "create", account))).trim();
      const asked = await done(as(token)("config", "set", "echo", "C=1", "--no-wait", "--json"));
      const { change } = JSON.parse(asked) as { change: number };
      await refused(
        eve("approve", String(change)),
        /eve and (ci|ben), who asked for change \d+, are tied/,
      );
      await done(mia("reject", String(change), "--reason", "not asked by itself"));
    }
  });

  it("are asked for where a class, a further window or the kind of an account loosens", async () => {
    const pinned = { rules: await rules() };
    writeFileSync(file, JSON.stringify(pinned));
    await done(eve("policy", "set", file, "--env", "production"));
    // Those who could approve are tied to her or disabled: it is refused, and never written.
    const isHeld = async (path: string, body: object, reason: RegExp): Promise<void> => {
      const { status, text } = await api("PUT", path, body);
      assert.equal(status, 400, text);
      assert.match(text, reason);
    };
    const nobody = "and nobody else could approve it";
    await isHeld(
      "/v1/environments/production",
      { class: "development" },
      new RegExp(`class: production → development\\), ${nobody}`),
    );
    await isHeld("/v1/accounts/ci", { kind: "person" }, /ci becomes production\/operator/);
    await isHeld("/v1/accounts/mia", { kind: "service" }, /mia is no person any more/);
    const window = ["--cron", "0 3 * * 1", "--for", "1h", "--reason", "nights"];
    await done(eve("window", "set", "office", ...window));
    await refused(
      eve("window", "set", "mine", ...window),
      /window \S*mine: adds time to change in/,
    );
    await holdfast.ok("window", "remove", "office", "--emergency", "--reason", "a test");
  });

  it("are broken as an emergency, which is loud and to be reviewed by another", async () => {
    writeFileSync(file, "rules: { maxInstances: 300 }\n");
    const said = await done(eve("policy", "set", file, "--emergency", "--reason", "the rush"));
    assert.match(said, /an emergency: to be reviewed/);
    assert.equal((await rules())["maxInstances"], 300);
    const { number, emergency, toReview, diff } = await last();
    assert.deepEqual([emergency?.reason, toReview], ["the rush", true]);
    assert.deepEqual(diff, [{ what: "loosens", after: "maxInstances: 256 → 300" }]);
    await refused(eve("change", "review", String(number), "--text", "fine"), /cannot review it/);
    await done(mia("change", "review", String(number), "--text", "right"));
  });

  it("look at commands that are run in production, too", async () => {
    const asked = await done(eve("run", "echo", "--", "echo", "was run once"));
    assert.match(asked, /change \d+ needs 1 approval by/);
    const { number, summary, diff } = await last();
    assert.equal(summary, "run echo 'was run once' in echo");
    assert.deepEqual(diff, [{ what: "command", after: "echo 'was run once'" }]);
    await refused(eve("approve", String(number)), /eve asked for change/);
    await holdfast.ok("approve", String(number));
    await until("it has run", async () =>
      (await holdfast.ok("logs", "echo/run", "--since", "5m")).includes("was run once"),
    );
    const endOf = async (change: number): Promise<string> => {
      const view = await holdfast.json<ChangeView>("change", "show", String(change));
      return `${view.phase}: ${view.text}`;
    };
    await until("its end is known", async () => /succeeded/.test(await endOf(number)));
    assert.equal(await endOf(number), "succeeded: the command ended with 0");
    await done(eve("run", "echo", "--", "sh", "-c", "exit 3"));
    const bad = (await last()).number;
    const approved = await holdfast.run(["approve", String(bad)]);
    assert.match(approved.stdout + approved.stderr, /approved|running|failed/);
    await until("its end is known", async () => /failed/.test(await endOf(bad)));
    assert.equal(await endOf(bad), "failed: the command ended with 3");
    const glass = ["--emergency", "--reason", "it burns"];
    assert.match(await done(eve("run", ...glass, "echo", "--", "echo", "at once")), /at once/);
    assert.equal((await last()).toReview, true);
  });

  it("do not include those of whoever wrote the commit, whichever way it came", async () => {
    await holdfast.ok("account", "set", "ben", "--role", "production/approver,staging/developer");
    const author = as(await holdfast.tokenOf("ben"));
    app.write({ "notes.txt": "by ben" });
    await done(author("deploy", app.dir, "--env", "staging"));
    await holdfast.ok("account", "set", "olga", "--role", "production/operator,staging/viewer");
    const olga = as(await holdfast.tokenOf("olga"));
    const promoted = ["promote", "echo", "--from", "staging", "--to", "production"];
    const asked = await done(olga(...promoted, "--no-wait", "--json"));
    const { change } = JSON.parse(asked) as { change: number };
    await refused(author("approve", String(change)), /ben asked for change|can't approve it/);
    await refused(
      ana("approve", String(change), "--digest", "00000000ffff"),
      /is not what was seen/,
    );
    const { digest } = await holdfast.json<ChangeView>("change", "show", String(change));
    await done(ana("approve", String(change), "--digest", digest.slice(0, 12)));
  });

  it("look at all that an auditor may see, which is what everybody did", async () => {
    await holdfast.ok("account", "set", "otto", "--role", "*/auditor");
    const otto = as(await holdfast.tokenOf("otto"));
    assert.match(await done(otto("audit", "-n", "5")), /eve|owner/);
    await refused(otto("status"), /otto may not view/);
    await refused(otto("logs", "echo"), /otto may not view/);
    await refused(otto("account", "list"), /otto may not view/);
  });
});
