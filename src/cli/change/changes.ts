// Changes of protected environments: what is asked, who approves, how it ended.

import type { ChangeView } from "../../api/change-routes.ts";
import { wholeNumber } from "../app/change.ts";
import type { Command, CommandContext } from "../command.ts";
import { durationText, type Output } from "../output.ts";

const COLORS: Readonly<Record<ChangeView["phase"], "green" | "red" | "yellow" | "dim">> = {
  asked: "yellow",
  approved: "yellow",
  scheduled: "yellow",
  running: "yellow",
  succeeded: "green",
  failed: "red",
  "rolled-back": "red",
  rejected: "dim",
  withdrawn: "dim",
  expired: "dim",
};

const ago = (at: number): string => `${durationText(Date.now() - at)} ago`;
const pathOf = (number: unknown) =>
  `/v1/changes/${String(wholeNumber(String(number), "number of the change", 1))}` as const;

export const changes: Command = {
  usage: "changes",
  summary: "List changes in protected environments, newest first.",
  examples: ["holdfast changes", "holdfast changes --open --json"],
  options: [
    { flags: "--open", description: "only open changes" },
    { flags: "--review", description: "only emergency changes that need a review" },
    { flags: "--app <app>", description: "only of this app" },
  ],
  run: async ({ client, output }, _args, options) => {
    const facts = await client.get("/v1/changes", {
      open: options["open"] === true,
      review: options["review"] === true,
      ...(options["app"] !== undefined && { app: String(options["app"]) }),
    });
    output.result(facts, () =>
      facts.changes.length === 0
        ? "no changes"
        : output.table(
            facts.changes.map((one) => [
              String(one.number),
              output.paint(COLORS[one.phase], one.phase),
              one.environment,
              one.summary,
              `risk ${one.risk.score}`,
              `${one.askedBy}, ${ago(one.askedAt)}`,
              one.toReview
                ? output.paint("red", "to be reviewed")
                : one.emergency
                  ? "emergency"
                  : "",
            ]),
            ["", "state", "environment", "what", "", "asked by", ""],
          ),
    );
    return 0;
  },
};

export const changeShow: Command = {
  usage: "change show <number>",
  summary: "Show a change: diff, risk, plan, approvals and outcome.",
  examples: ["holdfast change show 12"],
  run: async ({ client, output }, [number]) => {
    const facts = await client.get(pathOf(number));
    output.result(facts, () => render(facts, output));
    return 0;
  },
};

function render(one: ChangeView, output: Output): string {
  const lines = (title: string, all: readonly string[]): string =>
    all.length === 0
      ? ""
      : `${output.paint("bold", title)}\n${all.map((line) => `  ${line}`).join("\n")}`;
  const rows = one.diff.map(({ what, before, after }) => [what, before ?? "-", "→", after ?? "-"]);
  const approvals = one.approvals.map(({ by, at }) => `${by}, ${ago(at)}`);
  return [
    `${output.paint("bold", `change ${one.number}`)}  ${one.summary} in ${one.environment}: ${output.paint(COLORS[one.phase], one.phase)}, ${one.text}`,
    [
      `asked by ${one.askedBy} (${one.askedFrom}) ${ago(one.askedAt)}${one.reason ? `: ${one.reason}` : ""}`,
      one.emergency ? output.paint("red", `an emergency: ${one.emergency.reason}`) : "",
      one.waived
        ? `approval waived: ${one.waived}`
        : `needs ${one.needs} approval${one.needs === 1 ? "" : "s"} of: ${one.approvers.join(", ") || "nobody has the role approver"}`,
      one.voided ? output.paint("yellow", one.voided) : "",
      one.problem ? output.paint("red", `could not run: ${one.problem}`) : "",
      one.rejected ? `rejected by ${one.rejected.by}: ${one.rejected.reason}` : "",
      one.review ? `reviewed by ${one.review.by}: ${one.review.text}` : "",
    ]
      .filter(Boolean)
      .join("\n"),
    rows.length === 0
      ? ""
      : `${output.paint("bold", "what differs")}\n${output
          .table(rows)
          .split("\n")
          .map((line) => `  ${line}`)
          .join("\n")}`,
    lines(
      `risk ${one.risk.score} of 100`,
      one.risk.parts.map(({ points, why }) => `${String(points).padStart(3)}  ${why}`),
    ),
    lines("plan", one.plan),
    lines("it succeeds when", one.success),
    lines("undone by", [one.rollback]),
    lines("approved by", approvals),
    one.phase === "asked"
      ? `  ${output.paint("cyan", "→")} holdfast approve ${one.number} --digest ${one.digest.slice(0, 12)}, or holdfast reject ${one.number} --reason <why>`
      : one.toReview
        ? `  ${output.paint("cyan", "→")} holdfast change review ${one.number} --text <what was found>`
        : "",
  ]
    .filter(Boolean)
    .join("\n\n");
}

async function say(
  { client, output }: CommandContext,
  number: unknown,
  verb: "approve" | "reject" | "withdraw" | "review",
  body: Record<string, string>,
  text: (view: ChangeView) => string,
): Promise<number> {
  const view = await client.post(`${pathOf(number)}/${verb}`, body);
  output.result(view, () => text(view));
  return 0;
}

export const approve: Command = {
  usage: "approve <number>",
  summary: "Approve a change in its current state; nobody approves their own change.",
  details: "--digest approves only the content that holdfast change show printed.",
  examples: ["holdfast approve 12 --digest 3f9c0a2b7d41"],
  options: [{ flags: "--digest <digest>", description: "digest of the reviewed content" }],
  run: (context, [number], { digest }) =>
    say(
      context,
      number,
      "approve",
      digest === undefined ? {} : { digest: String(digest) },
      ({ number: of, approvals, needs }) =>
        `change ${of} is approved by ${approvals.length} of ${needs}${approvals.length >= needs ? "; it runs once its time has come" : ""}`,
    ),
};

export const reject: Command = {
  usage: "reject <number>",
  summary: "Reject a change with a reason.",
  examples: ["holdfast reject 12 --reason 'not before the release notes'"],
  options: [{ flags: "--reason <text>", description: "reason (required)" }],
  run: (context, [number], { reason }) =>
    say(
      context,
      number,
      "reject",
      { reason: String(reason ?? "") },
      (view) => `change ${view.number} is rejected`,
    ),
};

export const changeWithdraw: Command = {
  usage: "change withdraw <number>",
  summary: "Withdraw a change that you requested.",
  examples: ["holdfast change withdraw 12"],
  run: (context, [number]) =>
    say(context, number, "withdraw", {}, (view) => `change ${view.number} is withdrawn`),
};

export const changeReview: Command = {
  usage: "change review <number>",
  summary: "Record the review of an emergency change.",
  examples: ["holdfast change review 12 --text 'right call; a test was added'"],
  options: [{ flags: "--text <text>", description: "findings (required)" }],
  run: (context, [number], { text }) =>
    say(
      context,
      number,
      "review",
      { text: String(text ?? "") },
      (view) => `change ${view.number} is reviewed`,
    ),
};
