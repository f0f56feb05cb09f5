import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { type AlertRule, ruleGroups } from "./alert-rules.ts";
import { manifestSchema } from "./manifest.ts";
import { objectivesOf } from "./objectives.ts";

const manifest = manifestSchema.parse({
  name: "shop",
  services: {
    web: { command: "x", routes: [{ host: "shop.localhost" }] },
    own: {
      command: "x",
      objectives: { availability: 99, latency: { under: "300ms", target: 95 } },
    },
    inner: { command: "x" },
  },
});
const objectives = objectivesOf("production", "shop", manifest);
const backlog = {
  environment: "production",
  app: "shop",
  service: "mail",
  metric: "waiting",
  max: 9,
};
const alerts = ruleGroups(objectives, [backlog])
  .flatMap(({ rules }) => rules)
  .filter((rule): rule is AlertRule => "alert" in rule);

describe("objectives", () => {
  it("are there for every service that users reach, and as a service says", () => {
    assert.deepEqual(
      objectives.map(({ service, kind, target, underSeconds }) => [
        service,
        kind,
        target,
        underSeconds,
      ]),
      [
        ["web", "availability", 0.999, undefined],
        ["web", "latency", 0.99, 1],
        ["own", "availability", 0.99, undefined],
        // The next bound by which answers are counted.
        ["own", "latency", 0.95, 0.5],
      ],
    );
  });
});

describe("alert rules", () => {
  it("have a runbook each, and no runbook is of none", () => {
    const folder = join(import.meta.dirname, "..", "..", "..", "docs", "runbooks");
    assert.deepEqual(
      [...new Set(alerts.map(({ annotations }) => annotations["runbook"]))].sort(),
      readdirSync(folder)
        .map((file) => `docs/runbooks/${file}`)
        .sort(),
    );
  });

  it("watch each budget with three pairs of windows", () => {
    const burns = alerts.filter(({ alert }) => alert === "ErrorBudgetBurn");
    assert.equal(burns.length, objectives.length * 3);
    assert.match(
      burns[0]?.expr ?? "",
      /bad_ratio1h\{[^}]*service="web"\} > 0\.0144 and .*bad_ratio5m\{[^}]*\} > 0\.0144/,
    );
  });
});
