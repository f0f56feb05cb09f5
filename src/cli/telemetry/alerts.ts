// Objectives and alerts.

import type { AlertView } from "../../api/alert-views.ts";
import { invalid } from "../../kernel/error.ts";
import { listOf } from "../app/change.ts";
import type { Command } from "../command.ts";
import { durationText } from "../output.ts";
import { durationMsOf, sinceMsOf } from "./since.ts";

const percent = (share: number): string => `${(share * 100).toFixed(3).replace(/\.?0+$/, "")} %`;

export const slo: Command = {
  usage: "slo [app]",
  summary:
    "Show objectives: target, attainment, remaining error budget, burn rate and main consumers.",
  examples: ["holdfast slo", "holdfast slo storefront"],
  run: async ({ client, output, environment }, [app]) => {
    const facts = await client.get("/v1/objectives", {
      environment,
      app: app === undefined ? undefined : String(app),
    });
    output.result(facts, () =>
      facts.objectives.length === 0
        ? "no service has a route yet: no objectives"
        : output.table(
            facts.objectives.map((one) => {
              const left = one.budgetLeft;
              const style = left < 0 ? "red" : left < 0.5 ? "yellow" : "green";
              const kind =
                one.kind === "latency"
                  ? `under ${durationText((one.underSeconds ?? 0) * 1000)}`
                  : one.kind;
              return [
                `${one.app}/${one.service}`,
                kind,
                percent(one.target),
                one.attained === undefined ? "no requests" : percent(one.attained),
                output.paint(style, left < -1 ? `${Math.round(1 - left)}× spent` : percent(left)),
                `${one.burnRate.toFixed(1)}×`,
                one.consumedBy.map(({ release, bad }) => `r${release}: ${bad}`).join(", ") || "-",
              ];
            }),
            [
              "service",
              "objective",
              "target",
              "attained",
              "budget left",
              "burn rate 1h",
              "consumed by",
            ],
          ),
    );
    return 0;
  },
};

export const alerts: Command = {
  usage: "alerts",
  summary: "List firing and resolved alerts with cause, start, query, runbook and release.",
  examples: ["holdfast alerts", "holdfast alerts --since 7d --json"],
  options: [
    {
      flags: "--since <duration>",
      description: "include alerts resolved within this time",
      default: "1d",
    },
  ],
  run: async ({ client, output, environment }, _args, options) => {
    const facts = await client.get("/v1/alerts", {
      environment,
      sinceMs: sinceMsOf(options["since"]),
    });
    const firing = facts.alerts.filter(({ state }) => state === "firing");
    output.result(facts, () =>
      facts.alerts.length === 0
        ? output.paint("green", "nothing fires, nothing did")
        : facts.alerts.map((one) => alertText(one, output.paint.bind(output))).join("\n\n"),
    );
    return firing.length > 0 ? 3 : 0;
  },
};

function alertText(
  one: AlertView,
  paint: (style: "red" | "yellow" | "dim" | "cyan", text: string) => string,
): string {
  const style = one.state === "firing" ? "red" : one.state === "pending" ? "yellow" : "dim";
  const silenced = one.silencedBy === undefined ? "" : `  ${paint("dim", "silenced")}`;
  const when =
    one.until === undefined
      ? `for ${durationText(Date.now() - one.since)}`
      : `${new Date(one.since).toISOString()}, for ${durationText(one.until - one.since)}`;
  const release =
    one.release === undefined
      ? ""
      : `  release ${one.release}${one.afterDeployMs === undefined ? "" : `, ${durationText(one.afterDeployMs)} after its deploy`}`;
  const labels = Object.entries(one.labels)
    .filter(([key]) => !["alertname", "severity", "cause", "release"].includes(key))
    .map(([key, value]) => `${key}=${value}`)
    .join(" ");
  return [
    `${paint(style, one.state)} ${one.alert} (${one.severity}) ${when}${release}${silenced}`,
    `  ${one.summary || labels}`,
    ...(one.route === undefined ? [] : [`  ${paint("dim", "worst route")} ${one.route}`]),
    ...(one.broken === undefined
      ? []
      : [`  ${paint("dim", "possible cause")} ${paint("yellow", one.broken)}`]),
    ...(one.query ? [`  ${paint("dim", "query")}   ${one.query}`] : []),
    ...(one.runbook ? [`  ${paint("dim", "runbook")} ${one.runbook}`] : []),
  ].join("\n");
}

const DAY_MS = 24 * 3_600_000;

export const silenceAdd: Command = {
  usage: "silence add <matchers...>",
  summary: "Mute notifications for alerts with these labels, and for others with the same cause.",
  examples: [
    "holdfast silence add alertname=HighErrorRate app=storefront --for 2h --comment 'known, fix is on its way'",
  ],
  options: [
    { flags: "--for <duration>", description: "how long: 30m, 2h, 1d", default: "1h" },
    { flags: "--comment <text>", description: "why" },
    { flags: "--only", description: "mute exactly this alert, not others with the same cause" },
  ],
  run: async ({ client, output }, [matchers], options) => {
    const pairs = listOf(matchers).map((pair) => {
      const at = pair.indexOf("=");
      if (at > 0) return [pair.slice(0, at), pair.slice(at + 1)] as const;
      throw invalid("cli.bad_matcher", `"${pair}" is not label=value`, {
        hint: "for example: alertname=HighErrorRate app=storefront",
      });
    });
    const made = await client.post("/v1/silences", {
      labels: Object.fromEntries(pairs),
      durationMs: durationMsOf(options["for"], "--for"),
      comment: String(options["comment"] ?? ""),
      only: options["only"] === true,
    });
    const whose = Object.entries(made.labels).map(([name, value]) => `${name}=${value}`);
    output.result(
      made,
      () =>
        `silenced: all alerts with ${whose.join(" ")}; holdfast silence remove ${made.silenceID} ends it`,
    );
    return 0;
  },
};

export const silenceList: Command = {
  usage: "silence list",
  summary: "List silences of the last day with owner and end.",
  examples: ["holdfast silence list"],
  run: async ({ client, output }) => {
    const { silences } = await client.get("/v1/silences");
    const shown = silences.filter(({ endsAt }) => Date.parse(endsAt) > Date.now() - DAY_MS);
    output.result({ silences: shown }, () =>
      shown.length === 0
        ? "nothing is silenced"
        : output.table(
            shown.map((one) => [
              one.status.state,
              one.matchers.map(({ name, value }) => `${name}=${value}`).join(" "),
              one.createdBy,
              one.endsAt,
              one.comment,
              one.id,
            ]),
            ["state", "alerts with", "owner", "ends", "why", "id"],
          ),
    );
    return 0;
  },
};

export const silenceRemove: Command = {
  usage: "silence remove <id>",
  summary: "End a silence.",
  examples: ["holdfast silence remove 6f0c8f2e-4c2b-4c63-9a0e-2f3f2d6f1b11"],
  run: async ({ client, output }, [id]) => {
    await client.delete(`/v1/silences/${encodeURIComponent(String(id))}`);
    output.result({ id }, () => "the silence has ended");
    return 0;
  },
};
