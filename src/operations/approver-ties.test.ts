import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { AuditEvent, AuditFilter } from "../kernel/audit.ts";
import { tiedAccounts } from "./approver-ties.ts";
import type { OperationDeps } from "./operation-deps.ts";

const HOUR_MS = 3_600_000;
const NOW = 100 * HOUR_MS;

const event = (
  kind: string,
  actor: string,
  name: string,
  hoursAgo: number,
  account?: string,
): AuditEvent => ({
  ...{ seq: 1, source: "", action: kind, generation: 1, prevHash: "", hash: "" },
  ...{ kind, actor, name, at: NOW - hoursAgo * HOUR_MS },
  change: account === undefined ? [] : [{ field: "(all)", to: { account } }],
});

const depsOf = (events: readonly AuditEvent[]) =>
  ({
    audit: {
      search: ({ kind, from = 0 }: AuditFilter) =>
        events.filter((one) => one.kind === kind && one.at >= from),
    },
    clock: { now: () => NOW },
  }) as unknown as Pick<OperationDeps, "audit" | "clock">;

const tied = (events: readonly AuditEvent[], asker: string, hours = 24): string[] =>
  [...tiedAccounts(depsOf(events), asker, hours)].sort();

describe("accounts that are tied to an asker", () => {
  it("are those that they made or made a token for, in so many hours", () => {
    const events = [
      event("account", "eve", "puppet", 2),
      event("account", "eve", "old", 30),
      event("account", "root", "ana", 2),
      event("token", "eve", "8f1c", 3, "ben"),
      event("token", "eve", "9a2b", 3, "eve"),
    ];
    assert.deepEqual(tied(events, "eve"), ["ben", "puppet"]);
    assert.deepEqual(tied(events, "eve", 48), ["ben", "old", "puppet"]);
    assert.deepEqual(tied(events, "ana"), ["root"], "who made it may speak in its name");
    assert.deepEqual(tied(events, "eve", 0), []);
  });

  it("are those that such accounts made in turn, and never the asker", () => {
    const events = [
      event("account", "eve", "one", 4),
      event("account", "one", "two", 3),
      event("token", "two", "8f1c", 2, "three"),
      event("account", "three", "eve", 1),
    ];
    assert.deepEqual(tied(events, "eve"), ["one", "three", "two"]);
  });

  it("are those that made the asker or a token of it, and those that made these; not the owner", () => {
    const events = [
      event("token", "eve", "8f1c", 3, "ci"),
      event("account", "max", "eve", 5),
      event("account", "eve", "ben", 2),
      event("account", "owner", "ci", 1),
    ];
    assert.deepEqual(tied(events, "ci"), ["eve", "max"]);
    assert.deepEqual(tied(events, "eve"), ["ben", "ci", "max"]);
  });

  it("are the same whichever of the owner's doors was used", () => {
    assert.deepEqual(tied([event("account", "admin", "ana", 1)], "owner"), ["ana"]);
  });
});
