// Everything that a person can set, as files: compared, applied, pruned; and what is refused.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, before, beforeEach, describe, it } from "node:test";
import type { ResourceView } from "../../src/api/resource-routes.ts";
import type { AppliedChange } from "../../src/operations/declared/declaration.ts";
import { Installation } from "../support/installation.ts";

const ALL = `kind: environment
name: staging
spec: { class: staging, hosts: "staging.{host}" }
---
kind: policy
name: staging
spec:
  rules: { maxInstances: 12 }
  cedar: ""
---
kind: account
name: ada
spec: { roles: { staging: [developer] } }
---
kind: window
name: staging/weekend
spec: { kind: freeze, schedule: "0 18 * * 5", duration: 62h, timezone: Europe/Madrid, reason: weekend }
---
kind: telemetry
name: staging
spec: { retention: { logs: { days: 5 } } }
---
kind: channel
name: ops
spec: { type: webhook, address: { $env: TEST_HOOK } }
---
kind: export
name: staging/collector
spec: { endpoint: "http://127.0.0.1:9", headers: { authorization: { $env: TEST_HOOK } } }
---
kind: notice
name: hello
spec: { text: "we move on Sunday" }
---
kind: settings
name: staging/shop
spec: { values: { GREETING: hello, LIMIT: 3 } }
`;
const HOOK = "https://example.com/hook/very-secret-path";

describe("declarations", { timeout: 240_000 }, () => {
  const holdfast = new Installation({ TEST_HOOK: HOOK, TEST_OTHER: `${HOOK}/other` });
  const dir = mkdtempSync(join(tmpdir(), "holdfast-test-files-"));
  const file = join(dir, "all.yaml");
  const write = (text: string): void => writeFileSync(file, text);
  const changesOf = async (...args: string[]): Promise<readonly AppliedChange[]> => {
    const { code, stdout, stderr } = await holdfast.run([...args, "--json"]);
    assert.ok(code === 0 || code === 2, stdout + stderr);
    return (JSON.parse(stdout) as { changes: AppliedChange[] }).changes;
  };
  const doing = (changes: readonly AppliedChange[]): string[] =>
    changes.filter(({ does }) => does !== "nothing").map((one) => `${one.does} ${one.kind}`);
  const get = async (kind: string, name: string): Promise<ResourceView> =>
    JSON.parse(await holdfast.ok("get", kind, name, "--json")) as ResourceView;
  const events = async (): Promise<number> =>
    (
      JSON.parse(await holdfast.ok("audit", "--json", "-n", "1")) as {
        events: { seq: number }[];
      }
    ).events[0]?.seq ?? 0;

  before(async () => {
    await holdfast.ok("up", "--install");
  });
  after(async () => {
    await holdfast.close();
    rmSync(dir, { recursive: true, force: true });
  });
  beforeEach(() => write(ALL));

  it("are compared, applied, and changed by nothing the second time", async () => {
    const plan = await holdfast.run(["plan", "-f", dir]);
    assert.equal(plan.code, 2, plan.stderr);
    assert.match(plan.stdout, /\+ environment staging {2}\(.*all\.yaml:1\)/);
    assert.match(plan.stdout, /retention\.logs\.days: 14 → 5/);
    assert.match(plan.stdout, /8 to create, 1 to change, 0 unchanged/);
    const missing = await holdfast.run(["get", "window", "staging/weekend"]);
    assert.deepEqual([missing.code, /there is no window/.test(missing.stderr)], [2, true]);

    assert.equal(doing(await changesOf("apply", "-f", dir)).length, 9);
    const [again, planned] = [
      await changesOf("apply", "-f", dir),
      await changesOf("plan", "-f", dir),
    ];
    assert.deepEqual([doing(again), doing(planned)], [[], []]);
    assert.equal((await holdfast.run(["plan", "-f", dir])).code, 0);

    assert.match(await holdfast.ok("env", "list"), /staging/);
    assert.match(await holdfast.ok("window", "list"), /staging\/weekend/);
    assert.match(await holdfast.ok("account", "list"), /ada/);
    assert.match(
      await holdfast.ok("config", "list", "shop", "--env", "staging"),
      /GREETING.*hello/,
    );
    assert.match(await holdfast.ok("policy", "show", "--env", "staging"), /maxInstances: 12/);
  });

  it("are printed as files that change nothing", async () => {
    const kinds = ["environment", "policy", "account", "window", "telemetry", "channel", "export"];
    const texts = await Promise.all(
      [...kinds, "notice", "settings"].map((kind) => holdfast.ok("get", kind, "-o", "yaml")),
    );
    const { code, stdout, stderr } = await holdfast.run(
      ["plan", "-f", "-"],
      texts.filter((text) => text.trim() !== "").join("\n---\n"),
    );
    assert.equal(code, 0, stdout + stderr);
  });

  it("show what somebody changed by hand", async () => {
    await holdfast.ok("set", "window", "staging/weekend", "duration=10h");
    const drift = await holdfast.run(["plan", "-f", dir]);
    assert.equal(drift.code, 2);
    assert.match(drift.stdout, /~ window staging\/weekend[\s\S]*duration: 10h → 2d14h/);
    assert.deepEqual(doing(await changesOf("apply", "-f", dir)), ["change window"]);
  });

  it("name secret values by version, and never show them", async () => {
    assert.deepEqual((await get("channel", "ops")).spec, {
      type: "webhook",
      severities: ["page", "ticket"],
      address: { version: 1 },
    });
    write(ALL.replaceAll("TEST_HOOK", "TEST_OTHER"));
    const { stdout } = await holdfast.run(["plan", "-f", dir]);
    assert.match(stdout, /address\.version: 1 → 2/);
    assert.match(stdout, /headers\.version: 1 → 2/);
    assert.deepEqual(doing(await changesOf("apply", "-f", dir)), [
      "change channel",
      "change export",
    ]);
    const all = await holdfast.ok("get", "channel", "-o", "yaml");
    const audit = await holdfast.ok("audit", "--json", "-n", "100");
    assert.ok(![stdout, all, audit].some((text) => text.includes("very-secret-path")));
    write(ALL.replace("{ $env: TEST_HOOK }", "{ version: 1 }"));
    const old = await holdfast.run(["apply", "-f", dir]);
    assert.deepEqual([old.code, /version 2 is/.test(old.stderr)], [2, true], old.stderr);
  });

  it("remove what they once declared, and nothing else", async () => {
    const files = ["-f", dir, "--set", "test"];
    await holdfast.ok("apply", ...files);
    await holdfast.ok("set", "notice", "by-hand", "text=stays");
    write(
      ALL.split("---\n")
        .filter((one) => !/kind: (notice|export|account)/.test(one))
        .join("---\n"),
    );
    assert.deepEqual(doing(await changesOf("plan", ...files)), []);
    assert.deepEqual(doing(await changesOf("plan", ...files, "--prune")), [
      "remove notice",
      "remove export",
      "remove account",
    ]);
    const unsaid = await holdfast.run(["apply", ...files, "--prune"]);
    assert.equal(unsaid.code, 2);
    assert.match(unsaid.stderr, /removes account ada[\s\S]*3 would be removed/);
    assert.ok(await get("account", "ada"));

    await holdfast.ok("apply", ...files, "--prune", "--yes");
    for (const [kind, name] of [
      ["notice", "hello"],
      ["export", "staging/collector"],
      ["account", "ada"],
    ] as const)
      assert.equal((await holdfast.run(["get", kind, name])).code, 2, `${kind} ${name}`);
    assert.ok(await get("notice", "by-hand"));
    await holdfast.ok("remove", "notice", "by-hand");
  });

  it("belong to one set of files", async () => {
    const other = join(dir, "other.yml");
    const { code, stderr } = await holdfast.run(["apply", "-f", file, "--set", "second"]);
    assert.deepEqual([code, /belongs to the files test/.test(stderr)], [2, true], stderr);
    rmSync(other, { force: true });
  });

  const refusals: readonly (readonly [what: string, text: string, message: RegExp, ...string[]])[] =
    [
      [
        "two of one name",
        `${ALL}---\nkind: notice\nname: hello\nspec: { text: again }\n`,
        /declared twice: .*:31 and .*:39/,
      ],
      [
        "a kind that is none",
        "kind: windw\nname: x\n",
        /no kind windw[\s\S]*did you mean window\?/,
      ],
      [
        "a kind that files can't declare",
        "kind: release\nname: x\n",
        /no kind release that can be declared/,
      ],
      ["a field that is none", "kind: notice\nname: x\nspec: { txt: a }\n", /notice x: .*txt/],
      [
        "a field that is wrong, after one that is right",
        `${ALL}---\nkind: notice\nname: x\nspec: { text: 5 }\n`,
        /all\.yaml:\d+: notice x: text/,
      ],
      [
        "a name that is none",
        "kind: notice\nname: A B\nspec: { text: a }\n",
        /a name must be <name>/,
      ],
      ["no name", "kind: notice\n", /all\.yaml:1: name is missing/],
      ["a key beside spec", "kind: notice\nname: x\nmetadata: {}\n", /does not know metadata/],
      ["what is no YAML", "kind: [\n", /all\.yaml: /],
      [
        "a variable that is not set",
        "kind: channel\nname: x\nspec: { type: webhook, address: { $env: TEST_NONE } }\n",
        /TEST_NONE is not set/,
      ],
      [
        "a secret value that nobody gave",
        "kind: channel\nname: x\nspec: { type: webhook }\n",
        /channel x: address is missing/,
      ],
      [
        "an environment that is not there",
        "kind: export\nname: nowhere/x\nspec: { endpoint: 'http://127.0.0.1:9' }\n",
        /no environment nowhere/,
      ],
      [
        "a window that never opens",
        "kind: window\nname: staging/x\nspec: { kind: freeze, schedule: '0 0 30 2 *', duration: 1h, reason: a }\n",
        /never comes/,
      ],
      ["pruning without a name", ALL, /need a name to be known by/, "--prune"],
      ["pruning everything", "---\n", /nothing is declared/, "--prune", "--set", "test"],
      [
        "pruning what serves",
        ALL.split("---\n").slice(1).join("---\n"),
        /environment staging can't be removed/,
        "--prune",
        "--set",
        "test",
        "--yes",
      ],
    ];
  for (const [what, text, message, ...more] of refusals)
    it(`refuse ${what}, and write nothing`, async () => {
      write(text);
      const before = await events();
      for (const verb of ["plan", "apply"]) {
        const args = more.filter((one) => verb === "apply" || one !== "--yes");
        const { code, stderr } = await holdfast.run([verb, "-f", dir, ...args]);
        assert.equal(code, verb === "plan" ? 1 : 2, stderr);
        assert.match(stderr, message);
        assert.match(stderr, /→/, "says what to do");
      }
      assert.equal(await events(), before);
    });

  it("are refused to who may not, by rule, and nothing of them is written", async () => {
    await holdfast.ok("account", "set", "dev", "--role", "staging/developer");
    const dev = await holdfast.tokenOf("dev");
    const one =
      "kind: window\nname: production/x\nspec: { kind: freeze, until: 2099-01-01T00:00:00Z, reason: a }\n";
    write(`kind: settings\nname: staging/shop\nspec: { values: { A: "1" } }\n---\n${one}`);
    const { code, stderr } = await holdfast.runAs(dev, ["apply", "-f", dir]);
    assert.deepEqual([code, /dev may not freeze in production/.test(stderr)], [2, true], stderr);
    assert.deepEqual(((await get("settings", "staging/shop")).spec as { values: object }).values, {
      GREETING: "hello",
      LIMIT: "3",
    });
    // What one may not see is not there.
    assert.equal((await holdfast.runAs(dev, ["get", "policy", "production"])).code, 2);
    assert.equal((await holdfast.runAs(dev, ["get", "channel", "ops"])).code, 2);
    assert.match((await holdfast.runAs(dev, ["get", "environment"])).stdout, /^staging/m);
    assert.doesNotMatch((await holdfast.runAs(dev, ["get", "environment"])).stdout, /production/);
  });

  it("wait for an approval where they are about a protected environment", async () => {
    for (const who of ["otto", "anna"])
      await holdfast.ok("account", "set", who, "--role", "production/operator,production/approver");
    // Not made by each other, and not by who asks.
    const [otto, anna] = [await holdfast.tokenOf("otto"), await holdfast.tokenOf("anna")];
    write("kind: export\nname: production/out\nspec: { endpoint: 'http://127.0.0.1:9' }\n");
    const asked = await holdfast.runAs(otto, ["apply", "-f", dir, "--json"]);
    assert.equal(asked.code, 0, asked.stdout);
    const [change] = (JSON.parse(asked.stdout) as { changes: AppliedChange[] }).changes;
    assert.match(change?.pending ?? "", /needs 1 approval by .*anna/, asked.stdout);
    assert.equal((await holdfast.run(["get", "export", "production/out"])).code, 2);
    const shown = await holdfast.ok("change", "show", String(change?.change));
    assert.match(shown, /set export production\/out/);
    assert.match(shown, /endpoint/);
    const own = await holdfast.runAs(otto, ["approve", String(change?.change)]);
    assert.equal(own.code, 2, "nobody approves their own");
    const approved = await holdfast.runAs(anna, ["approve", String(change?.change)]);
    assert.equal(approved.code, 0, approved.stderr);
    assert.equal(doing(await changesOf("plan", "-f", dir)).length, 0);
    // And the bespoke command waits as well.
    const removal = await holdfast.runAs(otto, ["export", "remove", "out"]);
    assert.match(removal.stdout, /needs 1 approval/);
    assert.ok(await get("export", "production/out"));
  });

  it("that wait for approval do not take each other's place", async () => {
    const otto = await holdfast.tokenOf("otto");
    write(`kind: export
name: production/one
spec: { endpoint: "http://127.0.0.1:9" }
---
kind: telemetry
name: production
spec: { retention: { logs: { days: 3 } } }
`);
    const { stdout } = await holdfast.runAs(otto, ["apply", "-f", dir, "--json"]);
    const { changes } = JSON.parse(stdout) as { changes: AppliedChange[] };
    assert.equal(changes.filter(({ pending }) => pending !== undefined).length, 2, stdout);
    for (const { change } of changes)
      assert.match(await holdfast.ok("change", "show", String(change)), /asked/);
  });

  it("belong to nobody who may not write them, and refusals are in the audit", async () => {
    await holdfast.ok("account", "set", "vera", "--role", "production/viewer,staging/developer");
    const vera = await holdfast.tokenOf("vera");
    write(await holdfast.ok("get", "export", "production/out", "-o", "yaml"));
    const taken = await holdfast.runAs(vera, ["apply", "-f", dir, "--set", "mine"]);
    assert.deepEqual([taken.code, /may not telemetry in production/.test(taken.stderr)], [2, true]);
    assert.equal((await holdfast.run(["get", "file-set", "mine"])).code, 2);
    const audit = await holdfast.ok("audit", "--json", "-n", "5", "--action", "refused");
    assert.match(audit, /"actor":"vera"/);
    // Nor does a plan that moves one show what it is.
    write(
      ALL.split("---\n")
        .filter((one) => /kind: settings/.test(one))
        .join(""),
    );
    const moved =
      "kind: repository\nname: none\nspec: { environment: production, url: 'https://github.com/a/b' }\n";
    write(moved);
    const plan = await holdfast.runAs(vera, ["plan", "-f", dir]);
    assert.match(plan.stderr, /vera may not deploy in production/);
    write("kind: account\nname: owner\nspec: { roles: { '*': [admin] } }\n");
    assert.match((await holdfast.run(["apply", "-f", dir])).stderr, /a name must be <account>/);
  });

  it("of a notice are shown by every command until it is removed or over", async () => {
    await holdfast.ok(
      "set",
      "notice",
      "move",
      "text=Sunday 6:00 to 7:00: the database moves",
      "level=warning",
    );
    for (const args of [["status"], ["env", "list"], ["get"], ["logs", "-n", "1"]]) {
      const { stdout, stderr } = await holdfast.run(args);
      assert.match(stderr, /notice: Sunday 6:00 to 7:00: the database moves/, args.join(" "));
      assert.doesNotMatch(stdout, /database moves/);
    }
    const json = await holdfast.run(["status", "--json"]);
    assert.deepEqual([JSON.parse(json.stdout).environment, json.stderr], ["production", ""]);
    await holdfast.ok("set", "notice", "move", "until=2020-01-01T00:00:00Z");
    assert.doesNotMatch((await holdfast.run(["status"])).stderr, /notice/);
    await holdfast.ok("remove", "notice", "move");
    const bad = await holdfast.run(["set", "notice", "move", "text=\u001b[2Jgone"]);
    assert.equal(bad.code, 2, "nothing that moves the cursor of others");
  });

  it("of many long notices stand in nobody's way", async () => {
    const long = "保守作業のお知らせ、".repeat(30);
    for (let n = 1; n <= 5; n += 1)
      await holdfast.ok("set", "notice", `long-${n}`, `text=${long.slice(0, 300)}`);
    const { code, stderr } = await holdfast.run(["env", "list"]);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /notice: 保守/);
    for (let n = 1; n <= 5; n += 1) await holdfast.ok("remove", "notice", `long-${n}`);
  });

  it("are watched no longer than one may", async () => {
    await holdfast.ok("account", "set", "wanda", "--role", "staging/viewer");
    const token = await holdfast.tokenOf("wanda");
    const watched = holdfast.runAs(token, ["get", "environment", "--watch", "--json"]);
    const followed = holdfast.runAs(token, ["logs", "-f", "--env", "staging"]);
    await holdfast.ok("set", "environment", "staging", "hosts=other.{host}");
    await holdfast.ok("account", "set", "wanda", "--disable");
    const ended = await Promise.all([watched, followed]);
    for (const { code, stdout, stderr } of ended) assert.notEqual(code, 0, stdout + stderr);
    await holdfast.ok("account", "remove", "wanda");
  });

  it("are watched as they change", async () => {
    const seen = holdfast.run(["get", "notice", "--watch", "--json"]);
    let isOver = false;
    void seen.then(() => {
      isOver = true;
    });
    // It begins to watch in its own time.
    for (let turn = 0; turn < 8; turn += 1) {
      await holdfast.ok("set", "notice", "watched", "text=one");
      await new Promise((resolve) => setTimeout(resolve, 300));
      await holdfast.ok("remove", "notice", "watched");
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    assert.equal(isOver, false);
    await holdfast.ok("down");
    const { stdout } = await seen;
    const counts = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).resources?.length);
    assert.deepEqual(
      [...new Set(counts)].filter((count) => count !== undefined).toSorted(),
      [0, 1],
    );
    await holdfast.ok("up");
  });

  it("of another build keep the control plane from starting, by name", async () => {
    await holdfast.ok("set", "notice", "kept", "text=one");
    await holdfast.ok("down");
    const state = join(holdfast.home, "state", "holdfast.db");
    const edit = (sql: string): void => {
      const db = new DatabaseSync(state);
      db.exec(sql);
      db.close();
    };
    for (const [sql, message] of [
      [
        `UPDATE resource SET spec = '{"text":"a","level":"info","color":"red"}' WHERE name = 'kept'`,
        /notice kept can't be read by this build: .*color/,
      ],
      [
        "UPDATE resource SET spec_version = 7 WHERE name = 'kept'",
        /notice kept .* a newer build wrote it \(version 7/,
      ],
    ] as const) {
      edit(sql);
      const { code, stderr } = await holdfast.run(["up"]);
      assert.notEqual(code, 0);
      assert.match(stderr, message);
      assert.match(stderr, /nothing was changed/);
    }
    edit(
      `UPDATE resource SET spec_version = 1, spec = '{"level":"info","text":"one"}' WHERE name = 'kept'`,
    );
    await holdfast.ok("up");
    assert.deepEqual((await get("notice", "kept")).spec, { text: "one", level: "info" });
  });
});
