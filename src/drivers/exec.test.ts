import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { run } from "./exec.ts";

describe("starting programs", () => {
  it("finds those for administrators also where an ordinary user's PATH lacks their folder", async () => {
    const { PATH } = process.env;
    process.env["PATH"] = "/usr/bin:/bin";
    try {
      assert.equal((await run(["ldconfig", "--version"])).code, 0);
    } finally {
      process.env["PATH"] = PATH;
    }
  });
});
