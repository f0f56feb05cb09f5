// Environments and what differs between them.

import type { EnvironmentDiff } from "../../client/answers.ts";
import type { EnvironmentView } from "../../operations/environment-view.ts";
import type { Command } from "../command.ts";
import type { Output } from "../output.ts";

export const envList: Command = {
  usage: "env list",
  summary: "List environments and their classes.",
  examples: ["holdfast env list"],
  run: async ({ client, output }) => {
    const facts = await client.get("/v1/environments");
    output.result(facts, () =>
      facts.environments.length === 0
        ? "no environment that you may see"
        : output.table(
            facts.environments.map((one) => [
              one.name,
              one.class,
              one.compute,
              one.hosts,
              one.rules.protected
                ? `changes are records, ${one.rules.approvals} approve`
                : "changes at once",
            ]),
            ["environment", "class", "compute", "hosts", ""],
          ),
    );
    return 0;
  },
};

export const envCreate: Command = {
  usage: "env create <name>",
  summary: "Create an environment with its own stores.",
  details:
    "The class sets its initial rules: development, test, staging or production; default: from the name. Hosts of its apps are prefixed with its name unless --hosts is given.",
  examples: [
    "holdfast env create staging",
    "holdfast env create demo --class staging --hosts 'demo.{host}'",
  ],
  options: [
    { flags: "--class <class>", description: "development, test, staging or production" },
    { flags: "--compute <compute>", description: "process or docker" },
    {
      flags: "--hosts <pattern>",
      description: "pattern for hosts of apps, such as demo.{host}",
    },
  ],
  run: async ({ client, output }, [name], options) => {
    const body = {
      isNew: true,
      ...Object.fromEntries(
        ["class", "compute", "hosts"].flatMap((key) =>
          options[key] === undefined ? [] : [[key, options[key]]],
        ),
      ),
    };
    const made = await client.put(`/v1/environments/${String(name)}`, body);
    output.result(
      made,
      () =>
        `${output.paint("green", "✓")} environment ${made.name}, class ${made.class}; its stores start\n  ${output.paint("cyan", "→")} holdfast deploy --env ${made.name}`,
    );
    return 0;
  },
};

export const envShow: Command = {
  usage: "env show [name]",
  summary: "Show an environment's class and effective rules.",
  examples: ["holdfast env show staging"],
  run: async ({ client, output, environment }, [name]) => {
    const facts = await client.get(`/v1/environments/${String(name ?? environment)}`);
    output.result(facts, () => render(facts, output));
    return 0;
  },
};

function render(facts: EnvironmentView, output: Output): string {
  const version =
    facts.policyVersion === 0 ? "those of its class" : `policy version ${facts.policyVersion}`;
  return [
    `${output.paint("bold", facts.name)}  class ${facts.class}, compute ${facts.compute}, hosts ${facts.hosts}, rules: ${version}`,
    "",
    output.table(
      Object.entries(facts.rules).map(([rule, value]) => [
        rule,
        Array.isArray(value) ? value.join(", ") || "none" : String(value),
      ]),
    ),
  ].join("\n");
}

export const diff: Command = {
  usage: "diff <one> <other>",
  summary: "Compare two environments: releases, settings, sizes, rules.",
  details: "Secrets are compared by presence only, never by value.",
  examples: ["holdfast diff staging production"],
  run: async ({ client, output }, [one, other]) => {
    const facts = await client.get("/v1/diff", {
      one: String(one),
      other: String(other),
    });
    output.result(facts, () => renderDiff(facts, output));
    return 0;
  },
};

function renderDiff({ environments, environment, apps }: EnvironmentDiff, output: Output): string {
  const table = (rows: EnvironmentDiff["environment"]): string =>
    output.table(
      rows.map(({ what, one, other }) => [what, String(one ?? "-"), String(other ?? "-")]),
      ["", ...environments],
    );
  const parts = Object.entries(apps).map(([app, rows]) =>
    rows.length === 0
      ? `${output.paint("bold", app)}: the same`
      : `${output.paint("bold", app)}\n${table(rows)}`,
  );
  const own =
    environment.length === 0
      ? []
      : [`${output.paint("bold", "the environments themselves")}\n${table(environment)}`];
  return [...parts, ...own].join("\n\n") || "nothing differs";
}
