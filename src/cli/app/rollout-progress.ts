// Following a rollout to its end and saying how it went: what deploy, rollback, restart, scale,
// config and secret all do after they were accepted.

import type { Events } from "../../client/answers.ts";
import type { Outcome } from "../../operations/change-operations.ts";
import type { Accepted } from "../../operations/release-writer.ts";
import type { CommandContext, Options } from "../command.ts";
import { durationText } from "../output.ts";
import { awaitChange } from "./change-options.ts";
import { showLines } from "./show-lines.ts";

type RolloutEvent = Events["GET /v1/apps/{environment}/{app}/rollouts/{generation}"];

const EXIT_SUPERSEDED = 75;
const EXIT_FAILED = 3;

type Following = Pick<CommandContext, "client" | "output" | "signal">;

export async function followRollout(
  context: Following,
  outcome: Outcome,
  options: Options = {},
): Promise<number> {
  const { output } = context;
  if (outcome.pending === undefined) return followAccepted(context, outcome);
  const { change = 0, pending } = outcome;
  output.progress(
    `  change ${change} of ${outcome.environment} ${pending}: holdfast change show ${change}`,
  );
  if (options["wait"] === false) {
    output.result(outcome, () => `change ${change} is asked for`);
    return 0;
  }
  const view = await awaitChange(context, change);
  if (!view.executed) {
    output.result(view, () => `change ${change} is ${view.phase}: ${view.text}`);
    return EXIT_FAILED;
  }
  const { release, generation } = view.executed;
  return followAccepted(context, { ...outcome, release, generation });
}

async function followAccepted(context: Following, accepted: Accepted): Promise<number> {
  const { output } = context;
  if (!accepted.changed) {
    output.result({ ...accepted, outcome: "unchanged" }, () => nothingChanged(accepted));
    return 0;
  }
  const timeline: { at: number; text: string }[] = [];
  let startedAt = 0;
  const build = new BuildOutput(context, accepted);
  for await (const event of context.client.events(
    `/v1/apps/${accepted.environment}/${accepted.app}/rollouts/${String(accepted.generation)}`,
    {},
    context.signal,
  )) {
    if (event.event === "build") {
      build.begin(event);
      continue;
    }
    await build.end();
    if (event.event === "waiting") {
      const { behind } = event;
      if (behind)
        output.progress(`  waits: release ${behind.release} is being rolled out (${behind.phase})`);
    } else if (event.event === "timeline") {
      startedAt ||= event.at;
      timeline.push(event);
      output.progress(
        `  ${output.paint("dim", `+${durationText(event.at - startedAt)}`.padEnd(10))} ${event.text}`,
      );
    } else {
      return reportEnd(context, accepted, event, timeline);
    }
  }
  output.progress("the connection ended; the rollout goes on: holdfast status");
  return EXIT_SUPERSEDED;
}

/** What a build says, where a person looks on; with --json it is in the logs alone. */
class BuildOutput {
  readonly #context: Following;
  readonly #accepted: Accepted;
  readonly #done = new AbortController();
  #showing: Promise<void> | undefined;

  constructor(context: Following, accepted: Accepted) {
    this.#context = context;
    this.#accepted = accepted;
  }

  begin({ release, ahead }: Extract<RolloutEvent, { event: "build" }>): void {
    const { output } = this.#context;
    if (ahead > 0) {
      output.progress(`  waits for ${ahead === 1 ? "another build" : `${ahead} other builds`}`);
      return;
    }
    if (output.isJson || this.#showing !== undefined) return;
    const { environment, app } = this.#accepted;
    const query = { environment, app, service: "build", release };
    this.#showing = showLines(this.#context, query, this.#done.signal, ({ text }) =>
      output.progress(`  ${output.paint("dim", `│ ${text}`)}`),
    );
  }

  async end(): Promise<void> {
    if (this.#showing === undefined) return;
    this.#done.abort();
    await this.#showing;
  }
}

function reportEnd(
  { output }: Following,
  accepted: Accepted,
  event: Extract<RolloutEvent, { event: "ended" }>,
  timeline: readonly { at: number; text: string }[],
): number {
  const facts = { ...accepted, ...event, timeline };
  const took =
    event.endedAt !== undefined && event.startedAt !== undefined
      ? ` in ${durationText(event.endedAt - event.startedAt)}`
      : "";
  if (event.outcome === "succeeded") {
    const urls = accepted.urls.map((url) => `\n  ${output.paint("cyan", url)}`).join("");
    output.result(
      facts,
      () =>
        `${output.paint("green", "✓")} ${accepted.app} release ${event.release} carries all traffic${took}${urls}`,
    );
    return 0;
  }
  if (event.outcome === "superseded") {
    output.result(
      facts,
      () =>
        `${output.paint("yellow", "superseded")}: a newer change of ${accepted.app} took its place (release ${event.release})`,
    );
    return EXIT_SUPERSEDED;
  }
  const { failure, serving } = event;
  output.result(facts, () =>
    [
      `${output.paint("red", "✗")} release ${event.release} of ${accepted.app} ${event.outcome === "failed" ? "failed" : `was ${event.outcome}`}${took}: ${failure?.reason ?? "unknown"}`,
      ...(failure?.log ?? []).map((line) => `  ${output.paint("dim", "│")} ${line}`),
      serving === undefined ? "  nothing serves" : `  ${servesOn(serving, timeline)}`,
      ...(failure?.hint ? [`  ${output.paint("cyan", "→")} ${failure.hint}`] : []),
    ].join("\n"),
  );
  return EXIT_FAILED;
}

// A candidate had its share until it was judged.
const servesOn = (serving: number, timeline: readonly { text: string }[]): string =>
  timeline.some(({ text }) => text.includes("% of requests go to"))
    ? `release ${serving} has all requests again`
    : `release ${serving} serves on, undisturbed`;

function nothingChanged({ app, release }: Accepted): string {
  return release === 0
    ? `saved; it takes effect with the first deploy of ${app}`
    : `nothing to change: ${app} has it so already (release ${release})`;
}
