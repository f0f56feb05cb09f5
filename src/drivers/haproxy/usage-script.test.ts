import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Script } from "node:vm";
import { renderUsageScript } from "./usage-script.ts";

/** HAProxy answers from one buffer of 16 KB, headers and reserve included. */
const MAX_BYTES = 14_500;

describe("the usage script", () => {
  it("is one script that the edge can serve from its buffer", () => {
    const script = renderUsageScript();
    assert.ok(Buffer.byteLength(script) < MAX_BYTES, String(Buffer.byteLength(script)));
    assert.match(script, /webVitals=/);
    assert.doesNotThrow(() => new Script(script));
  });
});
