// Watching a rollout, and saying what shall become of it.

import { writeFileSync } from "node:fs";
import type { RolloutView } from "../../api/rollout-view.ts";
import type { Command, CommandContext, Options } from "../command.ts";
import { chooseApp, wholeNumber } from "./change.ts";
import { renderRolloutHtml } from "./rollout-html.ts";
import { renderRollout } from "./rollout-screen.ts";

const REFRESH_MS = 1_000;
const EXIT_FAILED = 3;

export const rollout: Command = {
  usage: "rollout [app]",
  summary: "Show the current or last rollout: stages, both releases side by side, verdict.",
  details: "--watch follows it to its end. --html also writes a self-contained report with charts.",
  examples: [
    "holdfast rollout storefront --watch",
    "holdfast rollout storefront --release 12 --html report.html",
  ],
  options: [
    { flags: "--watch", description: "follow the rollout to its end" },
    { flags: "--release <release>", description: "show the last rollout of this release" },
    { flags: "--html <file>", description: "write a report with charts" },
  ],
  run: async (context, [app], options) => {
    const name = await chooseApp(context, app);
    if (options["html"] !== undefined) return report(context, name, options);
    return options["watch"] === true ? watch(context, name, options) : show(context, name, options);
  },
};

const pathOf = ({ environment }: CommandContext, app: string) =>
  `/v1/apps/${environment}/${app}/rollout` as const;

function queryOf(options: Options): Record<string, number> {
  const { release } = options;
  return release === undefined ? {} : { release: wholeNumber(String(release), "--release", 1) };
}

async function show(context: CommandContext, app: string, options: Options): Promise<number> {
  const view = await context.client.get(pathOf(context, app), queryOf(options));
  context.output.result(view, () => renderRollout(view, context.output));
  return exitOf(view);
}

const exitOf = ({ outcome }: RolloutView): number =>
  outcome === undefined || outcome === "succeeded" ? 0 : EXIT_FAILED;

async function watch(context: CommandContext, app: string, options: Options): Promise<number> {
  const { client, output, signal } = context;
  const isLive = process.stdout.isTTY === true && !output.isJson;
  let told = "";
  for (;;) {
    const view = await client.get(pathOf(context, app), queryOf(options));
    // Where nobody looks at a screen, what changes is told once.
    const change = JSON.stringify([view.phase, view.perMille, view.timeline.length, view.outcome]);
    if (isLive || change !== told) output.screen(view, () => renderRollout(view, output), isLive);
    told = change;
    if (view.outcome !== undefined && view.phase !== "watching") return exitOf(view);
    await new Promise((resolve) => {
      setTimeout(resolve, REFRESH_MS);
      signal.addEventListener("abort", resolve, { once: true });
    });
    if (signal.aborted) return 0;
  }
}

async function report(context: CommandContext, app: string, options: Options): Promise<number> {
  const path = pathOf(context, app);
  const query = { ...queryOf(options), series: true };
  const facts = await context.client.get(path, query);
  if (!("series" in facts)) return exitOf(facts);
  const file = String(options["html"]);
  writeFileSync(file, renderRolloutHtml(facts));
  context.output.result({ ...facts, file }, () => `wrote ${file}`);
  return exitOf(facts);
}

const REASON = { flags: "--reason <text>", description: "reason, kept in the rollout's timeline" };

const wish = (
  verb: "pause" | "resume" | "abort",
  summary: string,
  text: (view: RolloutView) => string,
): Command => ({
  usage: `${verb} [app]`,
  summary,
  examples: [`holdfast ${verb} storefront`],
  options: [REASON],
  run: async (context, [app], { reason }) => {
    const name = await chooseApp(context, app);
    const body = reason === undefined ? {} : { reason: String(reason) };
    const view = await context.client.post(`${pathOf(context, name)}/${verb}`, body);
    context.output.result(view, () => text(view));
    return 0;
  },
});

export const pause = wish(
  "pause",
  "Pause a rollout at its current stage.",
  ({ release, app, perMille }) =>
    `release ${release} of ${app} stays at ${perMille / 10} %, judged on: holdfast resume ${app}`,
);

export const resume = wish(
  "resume",
  "Resume a rollout, or confirm a stage that waits for a decision.",
  ({ release, app }) => `release ${release} of ${app} goes on: holdfast rollout ${app} --watch`,
);

export const abort = wish(
  "abort",
  "Abort a rollout and return all traffic to the live release.",
  ({ release, from, app }) =>
    `release ${release} of ${app} is aborted; ${from === undefined ? "nothing" : `release ${from}`} serves`,
);

/** `promote --now`. */
export async function promoteNow(
  context: CommandContext,
  app: string,
  reason: string | undefined,
): Promise<number> {
  const body = reason === undefined ? {} : { reason };
  const view = await context.client.post(`${pathOf(context, app)}/promote`, body);
  context.output.result(view, () => `release ${view.release} of ${view.app} gets all requests now`);
  return 0;
}
