// What policies of one's own, roles and windows say of a change is said of it whichever way it comes:
// asked or run, alone or on a train, as an emergency or not. On a real installation, with tokens.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { ChangeView } from "../../src/api/change-routes.ts";
import { AppFolder, ECHO_SERVER } from "../support/app-folder.ts";
import { done, type Run, refused } from "../support/command-outcome.ts";
import { Installation } from "../support/installation.ts";
import { until } from "../support/wait.ts";

const manifest = (name: string): string => `
name: ${name}
services:
  web:
    command: node server.js
    routes: [{ host: ${name}.localhost }]
`;

/** What loosens control, by the only one who may at that moment. */
const GLASS = ["--emergency", "--reason", "the test goes on"] as const;

describe("what holds for a change", { timeout: 600_000 }, () => {
  const holdfast = new Installation();
  const scratch = mkdtempSync(join(tmpdir(), "holdfast-policies-"));
  const apps = ["shop", "cart"].map(
    (name) => new AppFolder({ "server.js": ECHO_SERVER, "holdfast.yaml": manifest(name) }, name),
  );
  const [shop, cart] = apps as [AppFolder, AppFolder];
  const owner: Run = (...args) => holdfast.run(args);
  let dev: Run;
  let ops: Run;
  let ana: Run;
  let outsider: Run;
  let version = 0;

  const as = async (account: string, ...roles: string[]): Promise<Run> => {
    await holdfast.ok("account", "set", account, "--role", roles.join(","));
    const token = await holdfast.tokenOf(account);
    return (...args) => holdfast.runAs(token, args);
  };
  const touch = (app: AppFolder): void => {
    version += 1;
    app.write({ "notes.txt": String(version) });
  };
  const policy = async (text: string): Promise<void> => {
    writeFileSync(join(scratch, "policy.yaml"), text);
    await holdfast.ok("policy", "set", join(scratch, "policy.yaml"), ...GLASS);
  };
  const changes = async (...args: string[]): Promise<ChangeView[]> =>
    (await holdfast.json<{ changes: ChangeView[] }>("changes", ...args)).changes;
  const last = async (): Promise<ChangeView> => {
    const [newest] = await changes();
    assert.ok(newest);
    return newest;
  };
  const shown = (number: number): Promise<ChangeView> =>
    holdfast.json<ChangeView>("change", "show", String(number));

  before(async () => {
    await holdfast.ok("up", "--install");
    await holdfast.ok("env", "create", "staging", "--class", "staging");
    for (const { dir } of apps) {
      await holdfast.ok("deploy", dir, "--env", "staging");
      await holdfast.ok("deploy", dir);
    }
    dev = await as("dev", "production/developer", "staging/developer");
    ops = await as("ops", "production/operator");
    ana = await as("ana", "production/approver");
    outsider = await as("outsider", "staging/developer");
  });
  after(async () => {
    await holdfast.close();
    for (const app of apps) app.remove();
    rmSync(scratch, { recursive: true, force: true });
  });

  it("lets an emergency past a policy that excepts it, and asks of a reason what a policy asks", async () => {
    await policy(`rules: { standardChanges: [restart] }
cedar: |
  @id("no work without a ticket")
  forbid(principal, action, resource)
  when { ["restart", "deploy"].contains(context.action) && !context.emergency }
  unless { context.reason like "*OPS-*" };
`);
    await refused(ops("restart", "shop"), /the policy no work without a ticket forbids it/);
    await done(ops("restart", "shop", "--reason", "for OPS-12"));
    await done(ops("restart", "shop", "--emergency", "--reason", "it is down"));
    await refused(dev("restart", "shop", "--emergency", "--reason", "me too"), /may not emergency/);
  });

  it("holds askers to what a policy forbids by risk, and deploys to what it says of their app", async () => {
    await policy(`cedar: |
  @id("nothing risky")
  forbid(principal, action == Action::"deploy", resource) when { context.risk >= 5 };
`);
    touch(shop);
    await refused(dev("deploy", shop.dir, "--no-wait"), /the policy nothing risky forbids it/);
    await refused(ops("deploy", shop.dir, "--no-wait"), /the policy nothing risky forbids it/);
    await policy(`cedar: |
  @id("not the shop")
  forbid(principal, action == Action::"deploy", resource == App::"production/shop");
`);
    await refused(ops("deploy", shop.dir, "--no-wait"), /the policy not the shop forbids it/);
    touch(cart);
    await done(ops("deploy", cart.dir, "--no-wait"));
    await done(ops("change", "withdraw", String((await last()).number)));
    await policy("");
  });

  it("has somebody else approve what one may only ask for, whatever the rule says", async () => {
    await policy("rules: { approvals: 0 }\n");
    touch(shop);
    await done(dev("deploy", shop.dir, "--no-wait"));
    const { number, phase, needs } = await last();
    assert.deepEqual([phase, needs], ["asked", 1]);
    await done(dev("change", "withdraw", String(number)));
    // Of an app that is not there yet, too.
    await done(dev("config", "set", "later", "KEY=1", "--no-wait"));
    assert.equal((await last()).phase, "asked");
    assert.doesNotMatch(await holdfast.ok("config", "list", "later"), /KEY/);
    await done(ana("approve", String((await last()).number)));
    await until("it is set", async () => /KEY/.test(await holdfast.ok("config", "list", "later")));
    await policy("");
  });

  it("takes the first approval of a promotion without a release, and of a rollback without one", async () => {
    touch(shop);
    await done(owner("deploy", shop.dir, "--env", "staging"));
    await done(dev("promote", "shop", "--from", "staging", "--to", "production", "--no-wait"));
    const promotion = (await last()).number;
    await done(ana("approve", String(promotion)));
    await until("it is promoted", async () => (await shown(promotion)).phase === "succeeded");
    await policy("rules: { standardChanges: [] }\n");
    await done(dev("rollback", "shop", "--no-wait"));
    const back = (await last()).number;
    await done(ana("approve", String(back)));
    await until("it is back", async () => (await shown(back)).phase === "succeeded");
    assert.equal((await shown(back)).voided, undefined);
  });

  it("lets two settings be asked for beside each other, and says what takes whose place", async () => {
    await done(dev("config", "set", "shop", "A=1", "--no-wait"));
    const first = (await last()).number;
    await done(dev("config", "set", "shop", "B=1", "--no-wait"));
    assert.equal((await shown(first)).phase, "asked");
    const again = await dev("config", "set", "shop", "A=2", "--no-wait");
    assert.match(again.stderr, new RegExp(`it takes the place of change ${first}`));
    assert.equal((await shown(first)).phase, "withdrawn");
    for (const { number } of await changes("--open"))
      await done(owner("change", "withdraw", String(number)));
  });

  it("brings nothing from where one may not look", async () => {
    await refused(
      outsider("promote", "shop", "--from", "production", "--to", "staging"),
      /outsider may not view in production/,
    );
  });

  it("remembers approvals and emergencies that were refused", async () => {
    await done(dev("config", "set", "shop", "A=1", "--no-wait"));
    const { number } = await last();
    await refused(ops("approve", String(number)), /ops may not approve/);
    await refused(dev("restart", "shop", "--emergency", "--reason", "x"), /may not emergency/);
    const { events } = await holdfast.json<{
      events: { actor: string; change: { to?: unknown }[] }[];
    }>("audit", "--action", "refused");
    const tried = events.map(({ actor, change }) => `${actor} ${String(change[0]?.to)}`);
    assert.ok(tried.includes("ops approve"), tried.join(", "));
    assert.ok(tried.includes("dev emergency"), tried.join(", "));
    await done(dev("change", "withdraw", String(number)));
  });

  it("scales no further than the environment lets", async () => {
    await policy("rules: { maxInstances: 2, standardChanges: [scale] }\n");
    await refused(ops("scale", "shop", "web=3"), /maxInstances/);
    await done(ops("scale", "shop", "web=2"));
    await policy("");
  });

  it("runs nothing for who is not there any more, and counts no approval of theirs", async () => {
    await holdfast.ok(
      "freeze",
      "set",
      "quiet",
      "--until",
      new Date(Date.now() + 3_600_000).toISOString(),
      "--reason",
      "wait",
    );
    const ben = await as("ben", "production/developer");
    await done(ben("config", "set", "shop", "BEN=1", "--no-wait"));
    const ofBen = (await last()).number;
    await done(ana("approve", String(ofBen)));
    await done(dev("config", "set", "shop", "DEV=1", "--no-wait"));
    const ofDev = (await last()).number;
    await as("temp", "production/approver");
    const temp = await as("temp", "production/approver");
    await done(temp("approve", String(ofDev)));
    await holdfast.ok("account", "set", "ben", "--disable");
    await holdfast.ok("account", "remove", "temp");
    await holdfast.ok("freeze", "remove", "quiet", ...GLASS);
    await until("it is said", async () => /disabled or gone/.test((await shown(ofBen)).text));
    await until("it waits again", async () => /more approval/.test((await shown(ofDev)).text));
    const values = await holdfast.ok("config", "list", "shop");
    assert.doesNotMatch(values, /BEN|DEV/);
  });

  it("holds a train as it would hold each of its cars", async () => {
    for (const app of apps) {
      touch(app);
      await done(owner("deploy", app.dir, "--env", "staging"));
    }
    await policy("rules: { standardChanges: [promote] }\n");
    await holdfast.ok(
      "freeze",
      "set",
      "cart",
      "--until",
      new Date(Date.now() + 3_600_000).toISOString(),
      "--app",
      "cart",
      "--reason",
      "sale",
    );
    const train = ["train", "start", "shop", "cart", "--from", "staging", "--to", "production"];
    await done(owner(...train, "--no-wait"));
    const waits = await last();
    assert.deepEqual([waits.phase, waits.app], ["scheduled", "train"]);
    await done(owner("change", "withdraw", String(waits.number)));
    await holdfast.ok("freeze", "remove", "cart", ...GLASS);
    await policy(`rules: { standardChanges: [promote] }
cedar: |
  @id("not the cart")
  forbid(principal, action == Action::"promote", resource == App::"production/cart");
`);
    await refused(owner(...train), /the policy not the cart forbids it/);
    await policy("");
    // What was approved is what each of them would become, settings included.
    await done(dev(...train, "--no-wait"));
    const { number } = await last();
    await holdfast.ok("config", "set", "cart", "OTHER=1", ...GLASS);
    await refused(ana("approve", String(number)), /has changed since it was asked for/);
    await done(dev("change", "withdraw", String(number)));
  });

  it("waits where the only one who could approve wrote it, or is said to", async () => {
    const git = (...args: string[]) =>
      execFileSync("git", ["-C", shop.dir, "-c", "user.name=ana", "-c", "user.email=ana", ...args]);
    touch(shop);
    git("init", "-q");
    git("add", "-A");
    git("commit", "-qm", "as if ana had written it");
    await holdfast.ok("env", "create", "shore", "--class", "production", "--hosts", "shore.{host}");
    const solo = await as("solo", "shore/operator");
    const kim = await as("ana", "production/approver", "shore/approver");
    const text = await done(solo("deploy", shop.dir, "--env", "shore", "--no-wait"));
    const { number, phase, waived, authors } = await last();
    assert.equal(waived, undefined, text);
    assert.deepEqual([phase, authors], ["asked", ["ana"]]);
    await refused(kim("approve", String(number)), /can't approve it/);
    await done(solo("change", "withdraw", String(number)));
  });
});
