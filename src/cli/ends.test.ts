// How a command ends when nobody reads it any more, and where its settings are none.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";

const CLI = join(import.meta.dirname, "..", "..", "holdfast");
const run = promisify(execFile);
const env = { ...process.env, HOLDFAST_HOME: "/nonexistent/holdfast" };

describe("a command", () => {
  for (const command of ["--help", "logs --help", "doctor", "status", "status --json"])
    for (const reader of ["| true", "2>&1 | true", "2>&1 | head -n 1"])
      it(`ends quietly: ${command} ${reader}`, async () => {
        const script = `set +e; "${CLI}" ${command} ${reader} > /dev/null; true`;
        const { stderr } = await run("bash", ["-c", script], { env });
        assert.doesNotMatch(stderr, /EPIPE|at .*:\d+:\d+|Node\.js/);
      });

  for (const url of ["nonsense", "ftp://x", "http://", "localhost:7070"])
    it(`says that ${url} is no URL of an API`, async () => {
      const given = { ...env, HOLDFAST_API: url, HOLDFAST_TOKEN: "x" };
      await assert.rejects(
        run(CLI, ["status"], { env: given }),
        ({ stderr, code }: { stderr: string; code: number }) =>
          code === 2 && stderr.includes(`HOLDFAST_API=${url} is not the URL of an API`),
      );
    });

  for (const [proxies, isGood] of [
    ["10.0.0.0/8, 192.0.2.7,2001:db8::/32", true],
    ["10.0.0.0/33", false],
    ["0.0.0.0/0", false],
    ["proxy.example.com", false],
    ["10.0.0.1 } { src 0.0.0.0/0", false],
  ] as const)
    it(`${isGood ? "takes" : "refuses"} ${proxies} as trusted proxies`, async () => {
      const given = { ...env, HOLDFAST_TRUSTED_PROXIES: proxies };
      const stderr = await run(CLI, ["status"], { env: given }).catch(
        (error: { stderr: string }) => error.stderr,
      );
      assert.equal(String(stderr).includes("is not a network"), !isGood, String(stderr));
    });
});
