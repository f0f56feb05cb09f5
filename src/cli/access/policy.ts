// The policy file of an environment: rules that differ from its class, and Cedar policies.

import { readFileSync } from "node:fs";
import { invalid, messageOf } from "../../kernel/error.ts";
import { CONTROL_OPTIONS, controlFacts, waitingText } from "../app/change-options.ts";
import type { Command } from "../command.ts";
import { load } from "../loading.ts";

const pathOf = (environment: string) => `/v1/environments/${environment}/policy` as const;

export const policyShow: Command = {
  usage: "policy show",
  summary: "Print the policy file of an environment.",
  examples: ["holdfast policy show --env production > policy.yaml"],
  run: async ({ client, output, environment }) => {
    const facts = await client.get(pathOf(environment));
    const { stringify } = await load(() => import("yaml"));
    output.result(facts, () => {
      const own = stringify({ rules: facts.rules, ...(facts.cedar && { cedar: facts.cedar }) });
      const others = Object.entries(facts.classRules)
        .filter(([rule]) => !(rule in facts.rules))
        .map(([rule, value]) => `#   ${rule}: ${JSON.stringify(value)}`);
      return [
        `# Policy of ${facts.environment}, version ${facts.version}. What is left out is as in class ${facts.class}:`,
        ...others,
        own.trimEnd(),
      ].join("\n");
    });
    return 0;
  },
};

export const policySet: Command = {
  usage: "policy set <file>",
  summary: "Set the policy file of an environment; - reads standard input.",
  examples: ["holdfast policy set policy.yaml --env production --dry-run"],
  details: "Loosening the rules of a protected environment requires an approval or --emergency.",
  options: [
    { flags: "--dry-run", description: "validate and show changes without applying them" },
    ...CONTROL_OPTIONS,
  ],
  run: async ({ client, output, environment }, [file], options) => {
    const text = readPolicy(String(file));
    const facts = await client.put(pathOf(environment), {
      text,
      dryRun: options["dryRun"] === true,
      ...controlFacts(options),
    });
    output.result(facts, () => {
      if (facts.pending !== undefined) return waitingText(facts, output) ?? "";
      const before: Readonly<Record<string, unknown>> = facts.before;
      const changed = Object.entries(facts.inForce).filter(
        ([rule, value]) => JSON.stringify(value) !== JSON.stringify(before[rule]),
      );
      const rows = changed.map(([rule, value]) => [
        rule,
        JSON.stringify(before[rule]),
        "→",
        JSON.stringify(value),
      ]);
      const head =
        options["dryRun"] === true
          ? `would be the policy of ${environment}`
          : `${environment} has policy version ${facts.version}`;
      const cedar = facts.cedar.trim();
      return [
        rows.length === 0 ? `${head}; no rule changes` : `${head}\n${output.table(rows)}`,
        cedar === "" ? "" : `Cedar policies:\n${cedar.replaceAll(/^/gm, "  ")}`,
        options["dryRun"] === true && facts.loosens.length > 0
          ? `loosens control: ${facts.loosens.join("; ")}`
          : "",
        waitingText(facts, output) ?? "",
      ]
        .filter(Boolean)
        .join("\n");
    });
    return 0;
  },
};

function readPolicy(file: string): string {
  try {
    return readFileSync(file === "-" ? 0 : file, "utf8");
  } catch (error) {
    throw invalid("policy.unreadable", `${file} can't be read: ${messageOf(error)}`, {
      hint: "holdfast policy show > policy.yaml makes one to begin with",
    });
  }
}

export const policyTest: Command = {
  usage: "policy test <account> <action>",
  summary: "Check whether an account may perform an action, and by which rule.",
  examples: ["holdfast policy test ci deploy --env production"],
  options: [{ flags: "--app <app>", description: "app to check" }],
  run: async ({ client, output, environment }, [account, action], { app }) => {
    const facts = await client.post(`${pathOf(environment)}/test`, {
      account: String(account),
      action: String(action),
      ...(app !== undefined && { app: String(app) }),
    });
    output.result(facts, () => {
      const verdict = facts.allowed
        ? output.paint("green", "allowed")
        : output.paint("red", "refused");
      const why = facts.problem ?? (facts.rules.join(", ") || "no rule permits it");
      return `${verdict}: ${why}\n  who may: ${["owner", ...facts.whoMay].join(", ")}`;
    });
    return facts.allowed ? 0 : 3;
  },
};
