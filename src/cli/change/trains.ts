import type { TrainView } from "../../api/train-routes.ts";
import { invalid } from "../../kernel/error.ts";
import { listOf, wholeNumber } from "../app/change.ts";
import { awaitChange, CHANGE_OPTIONS, changeFacts } from "../app/change-options.ts";
import type { Command, CommandContext } from "../command.ts";
import type { Output } from "../output.ts";

const POLL_MS = 500;
const EXIT_FAILED = 3;
const OVER: ReadonlySet<TrainView["phase"]> = new Set(["succeeded", "undone", "failed"]);

export const trainStart: Command = {
  usage: "train start <apps...>",
  summary: "Promote several apps together, in the order of their dependencies.",
  details:
    "Each app starts when the previous one receives all traffic. If one fails, the previous ones are rolled back in reverse order. `needs` in holdfast.yaml sets the order.",
  examples: ["holdfast train start payments storefront --from staging --to production"],
  options: [
    { flags: "--from <environment>", description: "source environment" },
    { flags: "--to <environment>", description: "target environment" },
    ...CHANGE_OPTIONS,
  ],
  run: async (context, [apps], options) => {
    const { from, to } = options;
    if (from === undefined || to === undefined)
      throw invalid("train.where", "it must be said from where to where", {
        hint: "holdfast train start <apps> --from staging --to production",
      });
    const { client, output } = context;
    const outcome = await client.post(`/v1/environments/${String(to)}/trains`, {
      apps: listOf(apps),
      from: String(from),
      ...changeFacts(options),
    });
    let number = outcome.train;
    if (outcome.pending !== undefined && outcome.change !== undefined) {
      output.progress(`  change ${outcome.change} ${outcome.pending}`);
      if (options["wait"] === false) {
        output.result(outcome, () => `change ${outcome.change} is asked for`);
        return 0;
      }
      const change = await awaitChange(context, outcome.change);
      number = change.executed?.train;
      if (number === undefined) {
        output.result(change, () => `change ${change.number} is ${change.phase}: ${change.text}`);
        return EXIT_FAILED;
      }
    }
    return follow(context, number ?? 0);
  },
};

async function follow({ client, output, signal }: CommandContext, number: number): Promise<number> {
  let told = "";
  for (;;) {
    const view = await client.get(`/v1/trains/${String(number)}`);
    if (view.text !== told) output.progress(`  train ${number}: ${view.text}`);
    told = view.text;
    if (OVER.has(view.phase)) {
      output.result(view, () => render(view, output));
      return view.phase === "succeeded" ? 0 : EXIT_FAILED;
    }
    await new Promise((resolve) => {
      setTimeout(resolve, POLL_MS);
      signal.addEventListener("abort", resolve, { once: true });
    });
    signal.throwIfAborted();
  }
}

function render(view: TrainView, output: Output): string {
  const color = view.phase === "succeeded" ? "green" : view.phase === "running" ? "yellow" : "red";
  const rows = view.cars.map(({ app, release }) => {
    const state = view.states.find((one) => one.app === app);
    return [app, `r${release} of ${view.from}`, state?.state ?? "waiting", state?.text ?? ""];
  });
  return `train ${view.number} to ${view.environment}: ${output.paint(color, view.phase)}, ${view.text}\n${output.table(rows)}`;
}

export const trainShow: Command = {
  usage: "train show <number>",
  summary: "Show a train and the state of each app.",
  examples: ["holdfast train show 3"],
  run: async ({ client, output }, [number]) => {
    const at = wholeNumber(String(number), "number of the train", 1);
    const view = await client.get(`/v1/trains/${String(at)}`);
    output.result(view, () => render(view, output));
    return 0;
  },
};

export const trainList: Command = {
  usage: "train list",
  summary: "List trains, newest first.",
  examples: ["holdfast train list"],
  run: async ({ client, output }) => {
    const facts = await client.get("/v1/trains");
    output.result(facts, () =>
      facts.trains.length === 0
        ? "no trains"
        : output.table(
            facts.trains.map((one) => [
              String(one.number),
              one.phase,
              one.environment,
              one.cars.map(({ app }) => app).join(", "),
              one.text,
            ]),
            ["", "state", "environment", "apps", ""],
          ),
    );
    return 0;
  },
};
