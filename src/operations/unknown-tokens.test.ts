import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { AuditEvent } from "../kernel/audit.ts";
import type { OperationDeps } from "./operation-deps.ts";
import { UnknownTokens } from "./unknown-tokens.ts";

describe("tokens that nobody knows", () => {
  it("leave a trace of each address, and not one for each try", () => {
    const events: Omit<AuditEvent, "seq" | "hash" | "prevHash">[] = [];
    let now = 0;
    const deps = {
      clock: { now: () => now },
      audit: { append: (event: (typeof events)[number]) => events.push(event) },
    } as unknown as Pick<OperationDeps, "audit" | "clock">;
    const unknown = new UnknownTokens(deps);
    for (let i = 0; i < 5_000; i += 1) unknown.tried("203.0.113.7");
    unknown.tried("192.0.2.1");
    assert.deepEqual(
      events.map(({ source, change }) => [source, change[0]?.to]),
      [
        ["203.0.113.7", 1],
        ["203.0.113.7", 10],
        ["203.0.113.7", 100],
        ["203.0.113.7", 1000],
        ["192.0.2.1", 1],
      ],
    );
    now = 3_600_000;
    unknown.tried("203.0.113.7");
    assert.equal(events.length, 6, "an hour later it is told again");
    for (let i = 0; i < 3_000; i += 1) unknown.tried(`10.0.${i >> 8}.${i & 255}`);
    assert.ok(events.length < 1_020, `${events.length} events`);
  });
});
