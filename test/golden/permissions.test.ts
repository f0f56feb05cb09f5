// Every role, in every class of environment, asked for every action: Cedar's answers as a table that
// a person can read. HOLDFAST_GOLDEN=write writes what is decided now.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { CedarAuthorizer } from "../../src/drivers/cedar/cedar-authorizer.ts";
import { ACTIONS, type Action } from "../../src/kernel/action.ts";
import { ROLES } from "../../src/resources/account/account.ts";
import {
  type AccessAnswer,
  type AccessQuestion,
  CEDAR_SCHEMA,
  NO_CONTEXT,
  rolePolicies,
} from "../../src/resources/account/permissions.ts";
import { CLASSES } from "../../src/resources/environment/environment.ts";

const FILE = join(import.meta.dirname, "..", "fixtures", "permissions", "matrix.golden");
const authorizer = new CedarAuthorizer({ schema: CEDAR_SCHEMA, rolePolicies });

const ask = (
  action: Action,
  grants: readonly string[],
  more: Partial<AccessQuestion> = {},
): AccessAnswer =>
  authorizer.decide({
    user: { name: "ana", kind: "person", grants },
    action,
    environment: { name: "here", class: "production" },
    context: NO_CONTEXT,
    cedar: "",
    ...more,
  });

describe("permissions", () => {
  it("are as the table says, for every role, class and action", () => {
    const places = [...CLASSES, "installation"] as const;
    const lines = places.flatMap((place) => [
      `${place.padEnd(14)}${ROLES.map((role) => role.padEnd(11)).join("")}`,
      ...ACTIONS.map((action) => {
        const cells = ROLES.map((role) => {
          const environment = place === "installation" ? undefined : { name: "here", class: place };
          const grant = place === "installation" ? `*/${role}` : `here/${role}`;
          return (ask(action, [grant], { environment }).allowed ? "yes" : ".").padEnd(11);
        });
        return `  ${action.padEnd(12)}${cells.join("")}`.trimEnd();
      }),
      "",
    ]);
    const text = lines.join("\n");
    if (process.env["HOLDFAST_GOLDEN"] === "write") writeFileSync(FILE, text);
    else assert.equal(text, readFileSync(FILE, "utf8"));
  });

  it("end at the environment they were given in", () => {
    for (const action of ACTIONS)
      for (const role of ROLES) {
        assert.equal(ask(action, [`elsewhere/${role}`]).allowed, false, `${role} ${action}`);
        const environment = undefined;
        assert.equal(ask(action, [`here/${role}`], { environment }).allowed, false);
      }
  });

  it("are nothing without a role", () => {
    for (const action of ACTIONS) assert.deepEqual(ask(action, []), { allowed: false, rules: [] });
  });

  it("give way to what a policy file forbids, and name it", () => {
    const cedar = `@id("no friday deploys")
      forbid(principal, action == Action::"deploy", resource) when { context.weekday == "friday" };`;
    const context = { ...NO_CONTEXT, weekday: "friday" };
    assert.deepEqual(ask("deploy", ["here/admin"], { cedar, context }), {
      allowed: false,
      rules: ["no friday deploys"],
    });
    assert.equal(ask("deploy", ["here/admin"], { cedar }).allowed, true);
    assert.equal(ask("rollback", ["here/admin"], { cedar, context }).allowed, true);
  });

  it("can be given by a policy file, for one app", () => {
    const cedar = `permit(principal == User::"ana", action == Action::"restart", resource == App::"here/shop");`;
    assert.equal(ask("restart", [], { cedar, app: "shop" }).allowed, true);
    assert.equal(ask("restart", [], { cedar, app: "other" }).allowed, false);
    assert.equal(ask("restart", [], { cedar }).allowed, false);
  });

  it("are none where a policy can't be evaluated", () => {
    const cedar = `@id("broken") forbid(principal, action, resource) when { resource.nothing == 1 };`;
    const answer = ask("view", ["here/admin"], { cedar });
    assert.equal(answer.allowed, false);
    assert.match(answer.problem ?? "", /the policy broken could not be evaluated/);
  });

  it("are checked before they are kept, with the place of a mistake", () => {
    authorizer.check("");
    authorizer.check('permit(principal, action == Action::"view", resource);');
    const refused = (text: string, message: RegExp): void => {
      assert.throws(() => authorizer.check(text), { code: "policy.invalid", message });
    };
    refused("permit(principal,\n action resource);", /line 2, column \d+/);
    refused('permit(principal, action == Action::"fly", resource);', /fly/);
    refused("permit(principal, action, resource) when { context.moon };", /moon/);
    refused(
      '@id("x") permit(principal, action, resource);\n@id("x") forbid(principal, action, resource);',
      /two policies have the id "x"/,
    );
  });
});
