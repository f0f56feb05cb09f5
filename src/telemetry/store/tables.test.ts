import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { logLine } from "../log-journal.ts";
import { TelemetryStore } from "./telemetry-store.ts";

const NOW = Date.parse("2026-11-26T03:00:00Z");

/** Lines as other people's programs write them. */
const LINES: readonly (readonly [line: string, level: string])[] = [
  ['time="2026-11-26T03:00:00Z" level=error msg="db down"', "error"],
  ["ts=2026-11-26T03:00:00Z caller=main.go:1 level=warn msg=slow", "warn"],
  ["level=ERROR msg=slog", "error"],
  ['time=2026-11-26 lvl=crit msg="x"', "fatal"],
  ["error: payment failed", "error"],
  ["ERROR payment failed", "error"],
  ["Error: payment failed", "error"],
  ["[error] nginx style", "error"],
  ["2026/11/26 03:00:00 [error] 7#7: upstream timed out", "error"],
  ["2026/11/26 03:00:00 [warn] 7#7: *1 a client request body is buffered", "warn"],
  ["WARNING:root:x", "warn"],
  ["warning: y", "warn"],
  ["2026-11-26 03:00:00,123 - app - ERROR - could not", "error"],
  ["03:00:00.123 [main] INFO  com.example.App - error: none", "info"],
  ["\u001b[31merror\u001b[39m: winston in colours", "error"],
  ["\u001b[32m[Nest] 1  - \u001b[39m11/26/2026 LOG [NestFactory] Starting", ""],
  ["fail: Microsoft.AspNetCore.Server[13]", "error"],
  ["info: Microsoft.Hosting.Lifetime[14]", "info"],
  ["dbug: x", "debug"],
  ["E1126 03:00:00.000000       1 main.go:42] could not", "error"],
  ["W1126 03:00:00.000000       1 main.go:42] slow", "warn"],
  ["E, [2026-11-26T03:00:00.000000 #1] ERROR -- : could not", "error"],
  ["I, [2026-11-26T03:00:00.000000 #1]  INFO -- : Started GET", "info"],
  ["[2026-11-26T03:00:00Z ERROR myapp] rust", "error"],
  ["[2026-11-26 03:00:00] production.ERROR: laravel", "error"],
  ["2026-11-26 03:00:00.000 UTC [1] shop@shop ERROR:  duplicate key", "error"],
  ["2026-11-26 03:00:00 | WARNING  | app:main:1 - loguru", "warn"],
  ["TypeError: Cannot read properties of undefined", "error"],
  ["Traceback (most recent call last):", "error"],
  ["ValueError: invalid literal", "error"],
  ["panic: runtime error: index out of range", "fatal"],
  ["java.lang.NullPointerException: x", "error"],
  ["<3>from systemd", "error"],
  ["03:00 [warning] elixir", "warn"],
  ["severity: critical, x", "fatal"],
  ['{"level":"error","msg":"x"}', "error"],
  ['{"severity":"WARNING","msg":"x"}', "warn"],
  ['{"msg":"ERROR is in the text only"}', ""],
  ["listening on 3000", ""],
  ["0 errors, 3 warnings found", ""],
  ["GET /error/page 200", ""],
  ["the order was informed of failure", ""],
];

describe("levels of log lines", () => {
  const dir = mkdtempSync(join(tmpdir(), "holdfast-levels-"));
  let store: TelemetryStore;
  const found = new Map<string, string>();

  before(async () => {
    store = await TelemetryStore.open({
      dir,
      now: () => NOW,
      policies: () => ({}),
      isSource: () => true,
      onProblem: () => undefined,
      onDropped: () => undefined,
    });
    const whose = { environment: "production", app: "shop", service: "web", release: 1 };
    const lines = LINES.map(([text], index) =>
      logLine({ ...whose, instance: String(index), level: "" }, NOW * 1000 + index, text),
    );
    await store.append("logs", lines.join(""));
    await store.load();
    const rows = store.rows("logs", { from: 0, to: NOW + 60_000 });
    for (const { instance, level } of await store.database.read(
      `SELECT instance, level FROM (${rows})`,
    ))
      found.set(String(instance), String(level));
  });
  after(async () => {
    await store.close();
    rmSync(dir, { recursive: true, force: true });
  });

  for (const [index, [line, level]] of LINES.entries())
    it(`${level || "no level"}: ${JSON.stringify(line).slice(0, 70)}`, () =>
      assert.equal(found.get(String(index)), level));
});
